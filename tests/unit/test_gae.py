"""Advantages against plain loops over single worlds."""

import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.ops import gae


def loop_gae(reward, value, nxt, term, trunc, gamma, lam):
    out = np.zeros_like(value)
    T, B, N = value.shape
    for b in range(B):
        for n in range(N):
            for t in range(T):
                weight, k = 1.0, t
                while True:
                    boot = 0.0 if term[k, b] else gamma * nxt[k, b, n]
                    out[t, b, n] += weight * (reward[k, b, n] + boot - value[k, b, n])
                    if term[k, b] or trunc[k, b] or k == T - 1:
                        break
                    weight, k = weight * gamma * lam, k + 1
    return out


def test_gae_ends_with_episodes():
    rng = np.random.default_rng(0)
    T, B, N = 9, 5, 2
    reward, value, nxt = rng.normal(size=(3, T, B, N)).astype(np.float32)
    end = rng.random((T, B)) < 0.35
    term = end & (rng.random((T, B)) < 0.5)
    trunc = end & ~term
    assert term.any() and trunc.any()
    got = gae.gae(reward, value, nxt, jnp.array(term), jnp.array(trunc), 0.9, 0.8)
    want = loop_gae(reward, value, nxt, term, trunc, 0.9, 0.8)
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_gae_by_hand():
    # Two steps, the first terminates: 1 - 0.5 and 2 + 0.9 * 4 - 3.
    arrays = [
        np.array(x, np.float32)[:, None, None] for x in ([1, 2], [0.5, 3], [7, 4])
    ]
    term = jnp.array([[True], [False]])
    got = gae.gae(*arrays, term, jnp.zeros((2, 1), bool), 0.9, 0.5)
    np.testing.assert_allclose(np.ravel(got), [0.5, 2.6], rtol=1e-6)


def test_following_takes_finals_where_they_are():
    value = jnp.arange(6.0).reshape(3, 2, 1)
    final = jnp.array([[[10.0], [20.0]], [[30.0], [40.0]]])
    at = jnp.array([[0, 3], [2, 2]])
    got = gae.following(value, final, at)[..., 0]
    np.testing.assert_array_equal(got, [[10, 3], [4, 5], [30, 40]])


def test_standardised_ignores_weightless_entries():
    x = jnp.array([1.0, 3.0, 1000.0])
    got = gae.standardised(x, jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(got[:2], [-1 / 1.00001, 1 / 1.00001], rtol=1e-5)


@pytest.mark.parametrize("batches", [1, 3])
def test_moments_are_unbiased_from_the_start(batches):
    moments = gae.no_moments()
    assert gae.location_scale(moments) == (0.0, 1.0)
    x = jnp.array([2.0, 4.0, 6.0])
    for _ in range(batches):
        moments = gae.track(moments, x, jnp.ones(x.shape), 0.99)
    mean, scale = gae.location_scale(moments)
    np.testing.assert_allclose([mean, scale], [4.0, np.std([2, 4, 6])], rtol=1e-3)
