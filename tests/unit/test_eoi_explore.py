"""The form of EOI that only explores, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eoi_reference import (
    A,
    N,
    method_of,
    mlp,
    own,
    phase_loss,
    probabilities,
    state_of,
)
from support import SPEC, learner_of, random_batch

from rolemarl_jax.roles.parts.method import Moment
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.types import AgentState, Observation


@pytest.fixture(scope="module")
def batch():
    return random_batch(SPEC, T=7, B=4, lengths=[7, 4, 2, 6])


def test_exploring_losses(batch):
    method = method_of("eoi_explore")
    state = state_of(method)
    ctx = Context(state, batch, jax.random.key(0))
    losses = phase_loss(method, "classifier", ctx).losses
    p = probabilities(state.params, batch.obs[1:])
    np.testing.assert_allclose(losses["identity"], -np.log(own(p)).mean(-1), rtol=1e-4)
    np.testing.assert_allclose(
        losses["mutual_information"], -(p * np.log(p)).sum(-1).mean(-1), rtol=1e-4
    )
    ids = np.broadcast_to(np.eye(N), (*batch.obs.shape[:-1], N))
    seen = np.concatenate([batch.obs, ids], -1)
    online, target = (mlp(p, seen) for p in (state.params["ivf"], state.aux["ivf"]))
    best = np.where(batch.avail, target, -9999999.0).max(-1)[1:]
    goes_on = 1.0 - np.asarray(batch.terminated, float)[..., None]
    reward = 10.0 * own(probabilities(state.params, batch.obs[:-1]))
    taken = np.take_along_axis(online[:-1], np.asarray(batch.action)[..., None], -1)
    error = taken[..., 0] - (reward + 0.92 * goes_on * best)
    losses = phase_loss(method, "ivf", ctx).losses
    real = np.asarray(batch.mask) > 0
    np.testing.assert_allclose(
        losses["ivf"][real], (error**2).mean(-1)[real], rtol=1e-4
    )


@pytest.mark.parametrize("algo", ["eoi_explore"])
def test_exploration(algo):
    """Rates of individual episodes and steps; one agent at most; its liked action."""
    rows = 4000
    method = method_of(algo, explore_ratio=0.3)
    state = state_of(method)
    batch = random_batch(SPEC, T=1, B=rows)
    seen = Observation(batch.obs[0], batch.state[0], batch.avail[0])
    carry = method.carry(rows)
    chosen = jnp.full((rows, N), A, jnp.int32)  # no action: every change is seen
    step = jax.jit(
        lambda reset, carry, key: method.explore(
            Moment(state, seen, reset, key), chosen, carry
        )
    )
    actions, carry = step(jnp.ones(rows, bool), carry, jax.random.key(0))
    individual = np.asarray(carry["individual"])
    np.testing.assert_allclose(individual.mean(), 0.4, atol=0.03)
    led = np.asarray(actions) != A
    assert (led.sum(1) <= 1).all() and not led[~individual].any()
    np.testing.assert_allclose(led[individual].any(1).mean(), 0.3, atol=0.04)
    np.testing.assert_allclose(led.mean(0), 0.4 * 0.3 / N, atol=0.015)
    ids = np.broadcast_to(np.eye(N), (rows, N, N))
    q = mlp(state.params["ivf"], np.concatenate([seen.obs, ids], -1))
    liked = np.where(seen.avail, q, -np.inf).argmax(-1)
    np.testing.assert_array_equal(np.asarray(actions)[led], liked[led])

    # The kind of an episode lasts until the next begins, and other steps are drawn.
    half = jnp.arange(rows) < rows // 2
    later, carry = step(half, carry, jax.random.key(1))
    kept = np.asarray(carry["individual"])[rows // 2 :]
    np.testing.assert_array_equal(kept, individual[rows // 2 :])
    assert (np.asarray(carry["individual"]) != individual)[: rows // 2].any()
    assert ((np.asarray(later) != A) != led)[rows // 2 :].any()


def test_exploring_carry_survives_acting_and_greedy_ignores_it():
    learner = learner_of("eoi_explore", SPEC, {"role": {"episode_ratio": 1.0}})
    state, rows = jax.jit(learner.init)(jax.random.key(0)), 3
    batch = random_batch(SPEC, T=1, B=rows)
    seen = Observation(batch.obs[0], batch.state[0], batch.avail[0])
    start = learner.carry(rows)
    agents = AgentState(start, batch.last_action[0], batch.reset[0])
    _, carry = jax.jit(learner.act)(
        state, agents, seen, jnp.zeros(()), jax.random.key(1)
    )
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, start)
    assert carry["individual"].all()
    _, carry, _ = jax.jit(learner.greedy)(state, agents, seen)
    assert not carry["individual"].any()


def test_default_method_does_not_change_actions():
    method = method_of("qmix")
    actions, carry = jnp.arange(3), {"x": jnp.ones(1)}
    assert method.explore(None, actions, carry) == (actions, carry)
