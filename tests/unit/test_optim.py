"""Optimisers over groups, target copies and schedules, against formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.config import ConfigError
from rolemarl_jax.ops import optim


def grads():
    return {
        "a": {"w": jnp.array([3.0, 4.0])},
        "b": jnp.array([[12.0]]),
        "c": jnp.array([1e-3, 5.0]),
    }


def test_rmsprop_is_pytorchs():
    """``g / (sqrt(v) + eps)`` with v from zero, decay 0.99."""
    tx, g, eps = optim.optimiser("rmsprop", 0.1, {}), grads(), 0.1
    state = tx.init(g)
    v = jax.tree.map(lambda x: 0 * np.asarray(x), g)
    for factor in (1.0, -0.5, 2.0):
        now = jax.tree.map(lambda x, f=factor: f * x, g)
        step, state = tx.update(now, state, g)
        v = jax.tree.map(lambda v, x: 0.99 * v + 0.01 * np.square(x), v, now)
        expected = jax.tree.map(lambda v, x: x / (np.sqrt(v) + eps), v, now)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), step, expected
        )


def test_adam():
    tx, g, eps = optim.optimiser("adam", 1e-3, {}), grads(), 1e-3
    state = tx.init(g)
    m, v = (jax.tree.map(lambda x: 0 * np.asarray(x), g) for _ in range(2))
    for i, factor in enumerate((1.0, -0.5, 2.0), 1):
        now = jax.tree.map(lambda x, f=factor: f * x, g)
        step, state = tx.update(now, state, g)
        m = jax.tree.map(lambda m, x: 0.9 * m + 0.1 * x, m, now)
        v = jax.tree.map(lambda v, x: 0.999 * v + 0.001 * np.square(x), v, now)

        def formula(m, v, i=i):
            return (m / (1 - 0.9**i)) / (np.sqrt(v / (1 - 0.999**i)) + eps)

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
            step,
            jax.tree.map(formula, m, v),
        )


def clipped(clips):
    """Gradients after clipping: RMSprop's first step gives them back."""
    tx = optim.optimiser("rmsprop", 1e6, clips)
    step, _ = tx.update(grads(), tx.init(grads()), grads())
    return jax.tree.map(lambda x: np.asarray(x) * 1e6, step)


def test_clips_by_set_of_groups():
    """a and b have norm 13 together and are cut to 6.5; c keeps its 5."""
    got = clipped({("a", "b"): 6.5})
    np.testing.assert_allclose(got["a"]["w"], [1.5, 2.0], rtol=1e-5)
    np.testing.assert_allclose(got["b"], [[6.0]], rtol=1e-5)
    np.testing.assert_allclose(got["c"], grads()["c"], rtol=1e-5)
    got = clipped({("a",): 1.0, ("b", "c"): 100.0})
    np.testing.assert_allclose(got["a"]["w"], [0.6, 0.8], rtol=1e-5)
    np.testing.assert_allclose(got["b"], [[12.0]], rtol=1e-5)


def test_unknown_name():
    with pytest.raises(ConfigError, match="got 'sgd', allowed: adam, rmsprop"):
        optim.optimiser("sgd", 1e-8, {})


def test_soft_update_and_decay():
    old, new = {"w": jnp.array([1.0])}, {"w": jnp.array([3.0])}
    np.testing.assert_allclose(optim.soft_update(old, new, 0.25)["w"], 1.5)
    rate = optim.step_decay(0.5, 10)
    got = [float(rate(jnp.asarray(t))) for t in (0, 9, 10, 29)]
    assert got == [1.0, 1.0, 0.5, 0.25]
