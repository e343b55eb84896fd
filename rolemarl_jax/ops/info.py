"""Information measures of diagonal normal distributions, and losses made of them."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array, Key

LOG_DENSITY_FLOOR = 13.9
"""Log densities of a feature are shifted by it and cut at its negative (ROMA)."""


class Gaussian(NamedTuple):
    """Normal distributions with diagonal covariance over Z features."""

    mean: Array  # [..., Z]
    var: Array  # [..., Z]


def _check(*given: Gaussian) -> None:
    """Refuses distributions that are not over the same rows and features."""
    arrays = [x for p in given for x in p]
    chex.assert_shape(arrays, (..., None))
    chex.assert_equal_shape(arrays)
    chex.assert_type(arrays, float)


def sample(p: Gaussian, key: Key) -> Array:
    """Reparametrised draw `[..., Z]`."""
    _check(p)
    noise = jax.random.normal(key, p.mean.shape, p.mean.dtype)
    return p.mean + jnp.sqrt(p.var) * noise


def entropy(p: Gaussian) -> Array:
    """Differential entropy in nats, `[...]`."""
    _check(p)
    return 0.5 * (1.0 + math.log(2 * math.pi) + jnp.log(p.var)).sum(-1)


def kl(p: Gaussian, q: Gaussian) -> Array:
    """``KL(p || q)`` in nats, `[...]`."""
    _check(p, q)
    ratio = p.var / q.var
    shift = (p.mean - q.mean) ** 2 / q.var
    return 0.5 * (ratio + shift - 1.0 - jnp.log(ratio)).sum(-1)


def log_density(p: Gaussian, x: Array) -> Array:
    """Log density of each feature of `[..., Z]`, which broadcasts against ``p``."""
    _check(p)
    chex.assert_shape(x, (..., p.mean.shape[-1]))
    chex.assert_type(x, float)
    square = (x - p.mean) ** 2 / p.var
    return -0.5 * (square + jnp.log(p.var) + math.log(2 * math.pi))


def shifted(x: Array) -> Array:
    """The team as each agent's neighbours: `[..., N, F]` to `[..., N, N, F]`.

    Entry ``[i, s]`` is agent ``i - s - 1`` (modulo N), so the last one is agent i.
    """
    chex.assert_shape(x, (..., None, None))
    n = x.shape[-2]
    return jnp.stack([jnp.roll(x, s, axis=-2) for s in range(1, n + 1)], axis=-2)


def identifiability(
    p: Gaussian, q: Gaussian, entropy_weight: float, kl_weight: float
) -> Array:
    """How far roles are from what a trajectory tells, plus how vague they are.

    ``w_H H(p) + w_KL KL(p || q)``; with equal weights it is the cross entropy of
    appendix A.1 of ROMA (arXiv:2003.08039), without the first eq. 3.

    Args:
        p: roles given the observation, `[..., N, Z]`. q: given the trajectory.

    Returns:
        Mean over agents, `[...]`.
    """
    return (entropy_weight * entropy(p) + kl_weight * kl(p, q)).mean(-1)


def soften(x: Array, bound: float) -> Array:
    """``log(1 + exp(min(x, bound)))`` of each number of `[...]`, without overflow."""
    chex.assert_type(x, float)
    return jax.nn.softplus(jnp.minimum(x, bound))


def specialisation(
    p: Gaussian, others: Array, dissimilarity: Array, weight: float, enough: float
) -> Array:
    """ROMA's second regulariser (eq. 6, in the form of the authors' code).

    With m the mean log density of agent j's role under agent i's distribution and d
    the learned dissimilarity, both scaled to [0, 1] over a team's pairs:
    ``mean_ij d - weight mean_ij min(m + d, enough)``.

    Args:
        p: distributions of the agents, `[..., N, Z]`.
        others: roles to compare each agent with, `[..., N, N, Z]`.
        dissimilarity: of those pairs, not negative, `[..., N, N]`.
        weight: of the second term. enough: U of the paper.

    Returns:
        Loss of each team, `[...]`.
    """
    _check(p)
    *batch, n, z = p.mean.shape
    chex.assert_shape([others, dissimilarity], [(*batch, n, n, z), (*batch, n, n)])
    chex.assert_type([others, dissimilarity], float)
    own = Gaussian(p.mean[..., None, :], p.var[..., None, :])
    density = log_density(own, others) + LOG_DENSITY_FLOOR
    information = jnp.maximum(density, -LOG_DENSITY_FLOOR).mean(-1)
    m, d = _unit_range(information), _unit_range(dissimilarity)
    return (d - weight * jnp.minimum(m + d, enough)).mean((-1, -2))


def _unit_range(x: Array) -> Array:
    """Scales a matrix to [0, 1] by its least and greatest entry."""
    least = x.min((-1, -2), keepdims=True)
    greatest = x.max((-1, -2), keepdims=True)
    return (x - least) / (greatest - least + 1e-12)
