"""Targets and reductions of temporal-difference learning."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.trees import widened
from rolemarl_jax.types import Array

UNAVAILABLE = -9999999.0
"""Value of an action that cannot be taken (PyMARL's constant)."""


def mask_unavailable(q: Array, avail: Array) -> Array:
    """Action values with those of unavailable actions pushed out of reach.

    Args:
        q: `[..., A]`. avail: `[..., A]` bool.
    """
    chex.assert_equal_shape([q, avail])
    chex.assert_type([q, avail], [float, bool])
    return jnp.where(avail, q, UNAVAILABLE)


def standardised_available(q: Array, avail: Array) -> Array:
    """Values with mean 0 and variance 1 over the available actions; 0 for the others.

    Args:
        q: `[..., A]`. avail: `[..., A]` bool; where one action or none is available,
            all values are 0.
    """
    chex.assert_equal_shape([q, avail])
    chex.assert_type([q, avail], [float, bool])
    count = jnp.maximum(avail.sum(-1, keepdims=True), 1)
    mean = jnp.where(avail, q, 0.0).sum(-1, keepdims=True) / count
    centred = jnp.where(avail, q - mean, 0.0)
    variance = (centred**2).sum(-1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + 1e-5)


def chosen(q: Array, action: Array) -> Array:
    """Values of the given actions: `[..., A]`, `[...]` int to `[...]`."""
    chex.assert_shape(action, q.shape[:-1])
    chex.assert_type([q, action], [float, int])
    return jnp.take_along_axis(q, action[..., None], axis=-1)[..., 0]


def lambda_targets(
    reward: Array,
    terminated: Array,
    mask: Array,
    next_value: Array,
    gamma: float | Array,
    lam: float | Array,
) -> Array:
    """TD(lambda) targets that never cross the end of an episode.

    ``y_t = r_t + gamma (1 - terminated_t) [(1 - lam) v_{t+1} + lam y_{t+1}]``, where
    ``y_{t+1}`` is replaced by ``v_{t+1}`` if step ``t + 1`` is no transition of the
    same episode (Sutton and Barto 2018, eq. 12.2; lam = 0 is the one-step target).

    Args:
        reward: `[T, B]`. terminated: `[T, B]` bool. mask: `[T, B]`, 1 on transitions.
        next_value: `[T, B]` or `[T, B, N]`, value of the observation after step t.
        gamma: discount. lam: trace decay.

    Returns:
        Targets, shaped like ``next_value``.
    """
    chex.assert_rank([reward, next_value], [2, {2, 3}])
    chex.assert_equal_shape([reward, terminated, mask])
    chex.assert_equal_shape_prefix([reward, next_value], 2)
    chex.assert_rank([gamma, lam], 0)
    chex.assert_type([reward, mask, next_value], float)
    chex.assert_type(terminated, bool)
    reward, end, mask = (
        widened(x.astype(next_value.dtype), next_value)
        for x in (reward, terminated, mask)
    )
    goes_on = jnp.concatenate([mask[1:], jnp.zeros_like(mask[:1])])
    steps = reward, end, next_value, goes_on, jnp.asarray(gamma), jnp.asarray(lam)
    return jax.lax.platform_dependent(*steps, cuda=_in_rounds, default=_step_by_step)


def _step_by_step(
    reward: Array, end: Array, value: Array, goes_on: Array, gamma: Array, lam: Array
) -> Array:
    """Targets from the last to the first."""

    def step(later: Array, xs: tuple[Array, ...]) -> tuple[Array, Array]:
        r, d, v, on = xs
        y = r + gamma * (1.0 - d) * (v + lam * on * (later - v))
        return y, y

    start = jnp.zeros_like(value[0])
    return jax.lax.scan(step, start, (reward, end, value, goes_on), reverse=True)[1]


def _in_rounds(
    reward: Array, end: Array, value: Array, goes_on: Array, gamma: Array, lam: Array
) -> Array:
    """The same, composing every target's affine function with the next one's in pairs.

    It takes as many rounds as T has binary digits, where steps would be 3 T kernels.
    """
    traced, lasting = lam * goes_on, gamma * (1.0 - end)

    def composed(later: tuple[Array, ...], now: tuple[Array, ...]) -> Any:
        return later[0] * now[0], now[1] + now[0] * later[1]

    affine = lasting * traced, reward + lasting * (1.0 - traced) * value
    return jax.lax.associative_scan(composed, affine, reverse=True)[1]


def scale_gradient(x: Array, weight: Array) -> Array:
    """The same values, with gradients multiplied by ``weight``.

    Args:
        x: `[...]`. weight: broadcasts to it, axis by axis.
    """
    chex.assert_equal_rank([x, weight])
    chex.assert_type([x, weight], float)
    fixed = jax.lax.stop_gradient(x)
    return fixed + jax.lax.stop_gradient(weight) * (x - fixed)


def masked_mean(x: Array, mask: Array) -> Array:
    """``sum(mask x) / sum(mask)``; trailing axes of `x` beyond `mask` are averaged.

    Returns 0 where the mask is empty.

    Args:
        x: `[..., *]`. mask: `[...]`, 1 on what counts.
    """
    chex.assert_equal_shape_prefix([x, mask], mask.ndim)
    chex.assert_type([x, mask], float)
    x = x.reshape((*mask.shape, -1)).mean(-1)
    return (x * mask).sum() / jnp.maximum(mask.sum(), 1.0)
