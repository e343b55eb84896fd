"""Epsilon-greedy exploration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import ALGOS

from experiments import configure
from rolemarl_jax.config import build
from rolemarl_jax.learners.parts.epsilon import (
    EpsilonConfig,
    epsilon_greedy,
    linear_epsilon,
)

ROWS, N, A = 4000, 3, 4
act = jax.jit(epsilon_greedy, static_argnames="joint")


def world(seed=0):
    g = np.random.default_rng(seed)
    q = g.normal(size=(ROWS, N, A)).astype(np.float32)
    avail = g.random((ROWS, N, A)) < 0.6
    avail[..., 1] |= ~avail.any(-1)
    return q, avail, np.where(avail, q, -np.inf).argmax(-1)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_rates(joint, epsilon):
    q, avail, best = world()
    got = np.asarray(act(q, avail, epsilon, jax.random.key(1), joint=joint))
    assert np.take_along_axis(avail, got[..., None], -1).all()
    # A random action is the greedy one as often as there are few others.
    chance = (1 - 1 / avail.sum(-1)).mean()
    assert (got != best).mean() == pytest.approx(epsilon * chance, abs=0.02)


@pytest.mark.parametrize("joint", [False, True])
def test_coins(joint):
    """One coin a team, or independent ones."""
    many = 1000  # so that a random action is hardly ever the greedy one
    q = np.broadcast_to(np.eye(many, dtype=np.float32)[0], (ROWS, N, many))
    avail = np.ones((ROWS, N, many), bool)
    random = np.asarray(act(q, avail, 0.5, jax.random.key(2), joint=joint)) != 0
    share = np.bincount(random.sum(1), minlength=N + 1) / ROWS
    apart = np.array([1, 3, 3, 1]) / 8
    expected = [0.5, 0, 0, 0.5] if joint else apart
    # Four standard errors.
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / ROWS))


def test_random_actions_are_uniform():
    q, avail, _ = world()
    avail[:] = np.array([True, False, True, True])
    got = np.asarray(act(q, avail, 1.0, jax.random.key(3), joint=False))
    share = np.bincount(got.ravel(), minlength=A) / got.size
    np.testing.assert_allclose(share, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.02)


def test_schedule():
    cfg = build(
        EpsilonConfig,
        {"start": 1.0, "finish": 0.2, "steps": 100, "joint": False},
        "algo.epsilon",
    )
    rate = linear_epsilon(cfg)
    steps = jnp.array([0, 25, 100, 10**9])
    np.testing.assert_allclose(rate(steps), [1.0, 0.8, 0.2, 0.2], rtol=1e-6)


def exploring():
    """Those of ``configs/algo`` that explore and have pre-training."""
    cfgs = {name: configure(f"algo={name}") for name in ALGOS}
    return {
        name: cfg
        for name, cfg in cfgs.items()
        if "epsilon" in cfg.algo and pretraining(cfg) > 0
    }


def pretraining(cfg):
    """Env steps of a default run before its first TD step; warm-up is not counted."""
    role, steps = cfg.algo.get("role", {}), cfg.algo.get("pretrain_steps", 1)
    phases = [role[key] for key in role if key.startswith("pretrain_")]
    return sum(-(-phase // steps) for phase in phases) * cfg.train.steps_per_update


def test_exploration_is_not_over_when_learning_begins():
    """Else no TD step would see more of it than its last rate."""
    cfgs = exploring()
    assert {"acorm", "r3dm", "pqn_acorm", "pqn_r3dm"} <= cfgs.keys()
    for name, cfg in cfgs.items():
        rate = linear_epsilon(build(EpsilonConfig, cfg.algo["epsilon"], "epsilon"))
        assert float(rate(jnp.asarray(pretraining(cfg)))) > 0.45, name
