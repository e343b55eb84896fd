"""EOI's identity classifier against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eoi_reference import (
    N,
    method_of,
    own,
    phase_loss,
    probabilities,
    state_of,
)
from support import SPEC, random_batch

from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.ops import identity
from rolemarl_jax.roles.parts.phase import Context

ALGOS = ("eoi", "eoi_grid")


@pytest.fixture(scope="module")
def batch():
    return random_batch(SPEC, T=7, B=4, lengths=[7, 4, 2, 6])


def test_positives_are_of_the_same_episode_and_near():
    T, B, window = 12, 5, 4
    reset = np.zeros((T, B), bool)
    reset[0], reset[5, 1:], reset[6, 2] = True, True, True
    stamp = np.arange(T)[:, None, None, None] + np.zeros((T, B, N, 2))
    begun = np.maximum.accumulate(np.where(reset, np.arange(T)[:, None], 0))
    draw = jax.jit(lambda key: identity.positives(stamp, reset, window, key))
    seen = set()
    for seed in range(40):
        key = jax.random.key(seed)
        earlier, there = draw(key)
        np.testing.assert_array_equal(there, np.arange(T)[:, None] > begun)
        back = (stamp - earlier)[..., 0][np.asarray(there)]
        age = np.broadcast_to((np.arange(T)[:, None] - begun)[..., None], (T, B, N))
        assert (back >= 1).all()
        assert (back <= np.minimum(age[np.asarray(there)], window)).all()
        seen |= set(back[age[np.asarray(there)] >= window].tolist())
    assert seen == {1, 2, 3, 4}


def test_positives_of_a_window_longer_than_the_row():
    p = jnp.arange(3.0)[:, None, None, None] + jnp.ones((3, 1, N, 2))
    reset = jnp.array([[True], [False], [False]])
    earlier, there = identity.positives(p, reset, 50, jax.random.key(0))
    assert there[:, 0].tolist() == [False, True, True]
    assert (earlier[1] == 1).all() and np.isin(earlier[2], (1, 2)).all()


@pytest.mark.parametrize("algo", ALGOS)
def test_classifier_loss(batch, algo):
    """Cross entropy + beta1 positive distance + beta2 entropy, by hand.

    With a window of one step the positive is the step before.
    """
    method = method_of(algo, window=1)
    state = state_of(method)
    losses, metrics, _ = phase_loss(
        method, "classifier", Context(state, batch, jax.random.key(3))
    )
    p = probabilities(state.params, batch.obs[:-1])
    log_p = np.log(p)
    before = np.concatenate([np.zeros_like(p[:1]), p[:-1]])
    expected = {
        "identity": -own(log_p).mean(-1),
        "mutual_information": -(p * log_p).sum(-1).mean(-1),
        "positive_distance": -(before * log_p).sum(-1).mean(-1),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    mask = np.asarray(batch.mask)
    sure = (own(p).mean(-1) * mask).sum() / mask.sum()
    np.testing.assert_allclose(metrics["probability"], sure, rtol=1e-5)
    beta = {"eoi": (0.01, 0.01), "eoi_grid": (0.04, 0.1)}[algo]
    phase = method.phases[0]
    assert set(phase.lr) == {"classifier"} and phase.scales == {
        "identity": 1.0,
        "positive_distance": beta[0],
        "mutual_information": beta[1],
    }


def test_positives_are_fixed_targets(batch):
    """The gradient of the positive distance is that of cross entropy with constants."""
    method = method_of("eoi", window=1)
    state = state_of(method)
    fixed = probabilities(state.params, batch.obs[:-1])
    fixed = jnp.asarray(np.concatenate([np.zeros_like(fixed[:1]), fixed[:-1]]))

    def given(params):
        logits = MLP((64, 64, N)).apply(params, batch.obs[:-1])
        return -(fixed * jax.nn.log_softmax(logits)).sum(-1).mean(-1).sum()

    def ours(params):
        ctx = Context(state, batch, jax.random.key(0))
        all_params = {**state.params, "classifier": params}
        return method.phases[0].loss(all_params, ctx).losses["positive_distance"].sum()

    grads = [jax.jit(jax.grad(f))(state.params["classifier"]) for f in (given, ours)]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *grads
    )
