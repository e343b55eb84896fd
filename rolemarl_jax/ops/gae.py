"""Advantages and normalisers of policy-gradient learning."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.types import Array


def gae(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    truncated: Array,
    gamma: float | Array,
    lam: float | Array,
) -> Array:
    """Generalised advantage estimates that never cross the end of an episode.

    ``delta_t = r_t + gamma (1 - terminated_t) V(o'_t) - V(o_t)`` and
    ``A_t = delta_t + gamma lam (1 - ended_t) A_{t+1}`` (Schulman et al. 2016,
    arXiv:1506.02438, eq. 16), where o'_t is the observation after step t, before
    any reset.

    Args:
        reward: `[T, B, N]`. value: `[T, B, N]`. next_value: `[T, B, N]`, of o'_t.
        terminated: `[T, B]` bool, no bootstrap. truncated: `[T, B]` bool, bootstrap.
        gamma: discount. lam: trace decay.

    Returns:
        Advantages `[T, B, N]`.
    """
    chex.assert_rank([reward, terminated], [3, 2])
    chex.assert_equal_shape([reward, value, next_value])
    chex.assert_shape([terminated, truncated], reward.shape[:2])
    chex.assert_rank([gamma, lam], 0)
    chex.assert_type([reward, value, next_value], float)
    chex.assert_type([terminated, truncated], bool)
    goes_on = ~(terminated | truncated)[..., None]
    alive = ~terminated[..., None]
    delta = reward + gamma * alive * next_value - value

    def step(later: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        d, on = xs
        advantage = d + gamma * lam * on * later
        return advantage, advantage

    zeros = jnp.zeros_like(delta[0])
    return jax.lax.scan(step, zeros, (delta, goes_on), reverse=True)[1]


def following(value: Array, final: Array, final_at: Array) -> Array:
    """Values of the observations after each step, before any reset.

    Args:
        value: `[T, B, N]`, of the observations acted on. final: `[K, B, N]`, of those
            that no slot holds. final_at: `[K, B]`, their steps; T where unused.

    Returns:
        `[T, B, N]`; meaningless at terminations, which do not bootstrap.
    """
    chex.assert_rank([value, final, final_at], [3, 3, 2])
    chex.assert_equal_shape_suffix([value, final], 2)
    chex.assert_shape(final_at, final.shape[:2])
    chex.assert_type([value, final, final_at], [float, float, int])
    next_value = jnp.concatenate([value[1:], final[-1:]])
    worlds = jnp.arange(value.shape[1])
    return next_value.at[final_at, worlds].set(final, mode="drop")


def standardised(x: Array, weight: Array) -> Array:
    """``(x - mean) / (std + 1e-5)`` with weighted moments over all axes.

    The constant is that of the ACORM authors' `algorithm/mappo.py`.

    Args:
        x: `[...]`. weight: `[...]`; entries of weight 0 shape neither moment.
    """
    chex.assert_equal_shape([x, weight])
    chex.assert_type([x, weight], float)
    count = jnp.maximum(weight.sum(), 1.0)
    mean = (x * weight).sum() / count
    variance = ((x - mean) ** 2 * weight).sum() / count
    return (x - mean) / (jnp.sqrt(variance) + 1e-5)


class Moments(NamedTuple):
    """Running first and second moment of value targets, and the weight in them."""

    mean: Array  # []
    square: Array  # []
    weight: Array  # []


def no_moments() -> Moments:
    """Moments before anything was seen."""
    return Moments(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def track(moments: Moments, x: Array, mask: Array, decay: float) -> Moments:
    """Moments moved towards those of a batch (Yu et al. 2022, arXiv:2103.01955).

    Args:
        x: `[..., *]`, value targets. mask: `[...]`, 1 on what counts.
        decay: of the moments, in [0, 1).
    """
    chex.assert_rank(list(moments), 0)
    chex.assert_type([*moments, x, mask], float)
    seen = Moments(masked_mean(x, mask), masked_mean(x**2, mask), jnp.ones(()))
    return jax.tree.map(lambda m, s: decay * m + (1 - decay) * s, moments, seen)


def location_scale(moments: Moments) -> tuple[Array, Array]:
    """Mean and standard deviation, 0 and 1 before anything was seen."""
    chex.assert_rank(list(moments), 0)
    chex.assert_type(list(moments), float)
    known = moments.weight > 0
    weight = jnp.where(known, moments.weight, 1.0)
    mean = moments.mean / weight
    variance = moments.square / weight - mean**2
    return mean, jnp.where(known, jnp.sqrt(jnp.maximum(variance, 1e-2)), 1.0)
