"""When learning stops, and that a member then stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import SPEC, random_batch, run_config, small_algo

from experiments import run
from rolemarl_jax.learners.parts.learner import UpdateOut
from rolemarl_jax.learners.parts.phases import run_when_due
from rolemarl_jax.program.divergence import GOING_ON, keep_finite
from rolemarl_jax.report import findings, summary
from rolemarl_jax.roles.parts.phase import LossOut, Phase
from rolemarl_jax.types import LearnerState


def state(value):
    part = {"w": jnp.full(3, value)}
    return LearnerState({"agent": part}, {"agent": part}, {"td": part}, part, {"lr": 1})


def step(value=2.0, diverged_at=GOING_ON, finite=True):
    new = state(2.0)._replace(params={"agent": {"w": jnp.array([2.0, value, 2.0])}})
    metrics = {"td/loss_td": jnp.float32(1.0), "td/q_taken": jnp.float32(4.0)}
    out = UpdateOut(new, metrics, jnp.asarray(finite))
    return keep_finite(state(1.0), out, jnp.int32(diverged_at), jnp.int32(64))


NAN, INF = np.nan, np.inf


def test_finite_updates_count():
    kept, metrics, diverged_at = step()
    assert diverged_at == GOING_ON and metrics["td/loss_td"] == 1
    for part in (kept.params["agent"], kept.target["agent"], kept.opt["td"], kept.aux):
        np.testing.assert_array_equal(part["w"], 2.0)


@pytest.mark.parametrize(("value", "finite"), [(NAN, True), (INF, True), (2.0, False)])
def test_the_last_finite_state_is_kept(value, finite):
    kept, reported, diverged_at = step(value, finite=finite)
    assert diverged_at == 64
    for part in (kept.params["agent"], kept.target["agent"], kept.opt["td"], kept.aux):
        np.testing.assert_array_equal(part["w"], 1.0)
    assert np.isnan(list(reported.values())).all(), "it did not count"


def test_what_has_diverged_stays_so():
    kept, reported, diverged_at = step(diverged_at=16)
    assert diverged_at == 16 and np.isnan(reported["td/loss_td"])
    np.testing.assert_array_equal(kept.params["agent"]["w"], 1.0)


BATCH = random_batch(SPEC, lengths=[6, 3, 4])


@pytest.mark.parametrize("value", [NAN, INF, 1e30])
@pytest.mark.parametrize("every", [1, 2])
def test_a_phase_tells_whether_its_losses_and_gradients_are_finite(value, every):
    """1e30 squared is infinite, and so is its gradient; a skipped step is no fault."""

    def loss(params, ctx):
        ones = jnp.ones_like(ctx.batch.mask)
        return LossOut({"pull": (params["a"] ** 2).sum() * ones}, {"told": NAN})

    phase = Phase(
        "x", "train", {"a": "lr"}, optax.identity(), loss, {"pull": 1.0}, every
    )
    for x, fine in ((1.0, True), (value, False)):
        params = {"a": jnp.full(2, x)}
        before = LearnerState(params, {}, {"x": optax.EmptyState()}, {}, {"lr": 0.1})
        out = run_when_due(phase, before, BATCH, 0, 1.0, jax.random.key(0))
        assert bool(out.finite) == (fine or every == 2)


@pytest.mark.parametrize(("frozen", "status"), [([0, 1], 1), ([1], None), ([], None)])
def test_the_command_fails_where_nothing_learns_any_more(
    tmp_path, capsys, frozen, status
):
    cfg = run_config(small_algo("qmix"), 2, {"run_dir": str(tmp_path)})
    rows = [
        {"seed": seed, "env_steps": 64, "split": "test", "return": 0.0}
        | ({"frozen_at": 64} if seed in frozen else {})
        for seed in (0, 1)
    ]
    summary.write(tmp_path, findings.summarise(cfg, rows, {}))
    if status is None:
        run._require_learners(cfg)
        return
    with pytest.raises(SystemExit) as error:
        run._require_learners(cfg)
    assert error.value.code == status
    said = capsys.readouterr().err
    assert "Nothing learns any more: 2 diverged" in said and "lower algo.lr" in said
