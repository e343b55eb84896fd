"""PPO's losses against plain NumPy and by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_worlds import algo, losses_of

from rolemarl_jax.config import build
from rolemarl_jax.learners import mappo
from rolemarl_jax.learners.parts.ppo_block import Old, Sequences
from rolemarl_jax.roles.parts.method import PolicyMethod

T, B, N, A = 7, 3, 3, 4


def config(**changes):
    return build(mappo.Config, algo("mappo", minibatch=None, **changes), "algo")


def stub():
    """A method whose logits and values are its parameters."""
    none = lambda *_: ({}, {})  # noqa: E731
    return PolicyMethod(
        init=None,
        carry=None,
        encode=none,
        logits=lambda p, *_: (p["logits"], {}),
        value=lambda p, *_: (p["value"], {}),
        actor_groups=("logits",),
        critic_groups=("value",),
    )


@pytest.mark.parametrize("value_clip", [None, 0.1])
def test_ppo_losses_against_numpy(value_clip):
    rng = np.random.default_rng(1)
    cfg = config(value_clip=value_clip)
    logits = rng.normal(size=(T, B, N, A)).astype(np.float32)
    value, old, target, advantage, weight = rng.normal(size=(5, T, B, N))
    action = rng.integers(0, A, (T, B, N))
    avail = rng.random((T, B, N, A)) < 0.6
    np.put_along_axis(avail, action[..., None], True, -1)
    log_prob = np.log(rng.uniform(0.2, 0.6, (T, B, N)))
    mask = jnp.array(rng.random((T, B)) < 0.7, jnp.float32)
    seq = Sequences(None, None, jnp.array(avail), jnp.array(action), mask, None)
    known = Old(
        log_prob=jnp.array(log_prob, jnp.float32),
        value=jnp.array(old, jnp.float32),
        advantage=jnp.array(advantage, jnp.float32),
        target=jnp.array(target, jnp.float32),
        weight=jnp.array(weight, jnp.float32),
    )
    params = {"logits": jnp.array(logits), "value": jnp.array(value, jnp.float32)}
    out = jax.jit(partial(losses_of, cfg, stub()))(params, seq, known)

    want = {name: np.zeros((T, B)) for name in out.losses}
    outside = np.zeros((T, B, N))
    for t, b, n in np.ndindex(T, B, N):
        p = np.exp(logits[t, b, n]) * avail[t, b, n]
        p = p / p.sum()
        ratio = p[action[t, b, n]] / np.exp(log_prob[t, b, n])
        a, w = advantage[t, b, n], weight[t, b, n] / N
        outside[t, b, n] = (abs(ratio - 1) > 0.2) * weight[t, b, n]
        gain = min(ratio * a, min(max(ratio, 0.8), 1.2) * a)
        error = (value[t, b, n] - target[t, b, n]) ** 2
        if value_clip:
            step = np.clip(value[t, b, n] - old[t, b, n], -value_clip, value_clip)
            error = max(error, (old[t, b, n] + step - target[t, b, n]) ** 2)
        want["actor"][t, b] -= gain * w
        want["entropy"][t, b] += (p[p > 0] * np.log(p[p > 0])).sum() * w
        want["critic"][t, b] += error / N
    for name, x in want.items():
        np.testing.assert_allclose(out.losses[name], x, rtol=2e-4, atol=2e-5)
    fraction = outside[np.asarray(mask) > 0].mean()
    np.testing.assert_allclose(out.metrics["clip_fraction"], fraction, rtol=1e-4)
    np.testing.assert_allclose(
        out.metrics["value"], value[np.asarray(mask) > 0].mean(), rtol=1e-4
    )


def test_clip_by_hand():
    cfg = config()
    half = jnp.log(jnp.full((1, 1, 1, 2), 0.5))
    for old, advantage, want in [(0.25, 2.0, -2.4), (0.25, -2.0, 4.0), (1.0, 2.0, -1)]:
        avail, action = jnp.ones((1, 1, 1, 2), bool), jnp.zeros((1, 1, 1), int)
        seq = Sequences(None, None, avail, action, jnp.ones((1, 1)), None)
        known = Old(
            log_prob=jnp.log(jnp.full((1, 1, 1), old)),
            value=jnp.zeros((1, 1, 1)),
            advantage=jnp.full((1, 1, 1), advantage),
            target=jnp.zeros((1, 1, 1)),
            weight=jnp.ones((1, 1, 1)),
        )
        params = {"logits": half, "value": jnp.ones((1, 1, 1))}
        losses = losses_of(cfg, stub(), params, seq, known).losses
        np.testing.assert_allclose(losses["actor"], [[want]], rtol=1e-6)
        np.testing.assert_allclose(losses["entropy"], [[-np.log(2)]], rtol=1e-6)
        np.testing.assert_allclose(losses["critic"], [[1.0]])
