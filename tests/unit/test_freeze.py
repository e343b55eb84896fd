"""When a member is frozen, and that it stays as it was."""

import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.program.freeze import GOING_ON, keep_finite
from rolemarl_jax.types import LearnerState


def state(value):
    part = {"w": jnp.full(3, value)}
    return LearnerState({"agent": part}, {"agent": part}, {"td": part}, part, {"lr": 1})


def step(value=2.0, metrics=None, frozen=GOING_ON):
    new = state(2.0)._replace(params={"agent": {"w": jnp.array([2.0, value, 2.0])}})
    told = {
        "td/loss_td": 1.0,
        "td/grad_norm": 3.0,
        "td/q_taken": 4.0,
        **(metrics or {}),
    }
    told = {name: jnp.float32(x) for name, x in told.items()}
    return keep_finite(state(1.0), new, told, jnp.int32(frozen), jnp.int32(64))


NAN, INF = np.nan, np.inf


def test_finite_updates_count():
    kept, metrics, frozen = step()
    assert frozen == GOING_ON and metrics["td/loss_td"] == 1
    for part in (kept.params["agent"], kept.target["agent"], kept.opt["td"], kept.aux):
        np.testing.assert_array_equal(part["w"], 2.0)


@pytest.mark.parametrize(
    ("value", "metrics"),
    [
        (NAN, {}),
        (INF, {}),
        (2.0, {"td/loss_td": INF}),
        (2.0, {"td/loss_td": NAN}),
        (2.0, {"td/grad_norm": INF}),
    ],
)
def test_the_last_finite_state_is_kept(value, metrics):
    kept, reported, frozen = step(value, metrics)
    assert frozen == 64
    for part in (kept.params["agent"], kept.target["agent"], kept.opt["td"], kept.aux):
        np.testing.assert_array_equal(part["w"], 1.0)
    assert np.isnan(list(reported.values())).all(), "it did not count"


def test_phases_that_are_not_due_are_no_fault():
    skipped = {"world/loss_x": NAN, "world/grad_norm": NAN}
    assert step(metrics=skipped)[2] == GOING_ON
    assert step(metrics={"td/q_taken": INF})[2] == GOING_ON


def test_what_is_frozen_stays_so():
    kept, reported, frozen = step(frozen=16)
    assert frozen == 16 and np.isnan(reported["td/loss_td"])
    np.testing.assert_array_equal(kept.params["agent"]["w"], 1.0)
