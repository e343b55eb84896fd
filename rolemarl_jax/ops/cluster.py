"""K-means inside the compiled program."""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array


def kmeans(x: Array, k: int, iterations: int, alive: Array | None = None) -> Array:
    """Cluster labels of N points by Lloyd's algorithm, deterministic.

    The first centre is the first point, each next one the point farthest from those
    chosen; ties go to the lowest index. A fixed number of iterations keeps the
    program's shape fixed. Distances to a cluster's mean come from pairwise ones,
    ``|x_i - mean_C|^2 = mean_j d_ij - 1/2 mean_jl d_jl`` for j, l in C, so the D
    features are read once.

    Args:
        x: `[..., N, D]`. k: clusters, at most N. iterations: of assignment.
        alive: `[..., N]` bool, points that shape the clusters; all if not given.

    Returns:
        Labels in 0..k-1, `[..., N]` int32. Fewer than k occur if points coincide.
    """
    chex.assert_shape(x, (..., None, None))
    chex.assert_type(x, float)
    if alive is not None:
        chex.assert_shape(alive, x.shape[:-1])
        chex.assert_type(alive, bool)
    # Differences of large numbers: distances need all the digits that there are.
    x = x.astype(jnp.float32)
    weight = jnp.ones(x.shape[:-1]) if alive is None else alive.astype(x.dtype)
    square = (x * x).sum(-1)
    gram = jnp.einsum("...id,...jd->...ij", x, x)
    distance = jnp.maximum(square[..., :, None] + square[..., None, :] - 2 * gram, 0)
    labels = _nearest(_farthest_first(distance, weight, k))
    return jax.lax.fori_loop(
        0, iterations, lambda _, old: _assign(distance, weight, old, k), labels
    )


def _farthest_first(distance: Array, weight: Array, k: int) -> Array:
    """Distances `[..., N, k]` to k points chosen by farthest-first traversal."""
    pick = jnp.argmax(weight, axis=-1)
    columns: list[Array] = []
    for _ in range(k):
        one_hot = jax.nn.one_hot(pick, distance.shape[-1], dtype=distance.dtype)
        columns.append(jnp.einsum("...ij,...j->...i", distance, one_hot))
        pick = jnp.argmax(jnp.stack(columns, -1).min(-1) * weight, axis=-1)
    return jnp.stack(columns, -1)


def _assign(distance: Array, weight: Array, labels: Array, k: int) -> Array:
    """One Lloyd iteration: means of the current clusters, then nearest mean."""
    member = jax.nn.one_hot(labels, k, dtype=distance.dtype) * weight[..., None]
    size = member.sum(-2)
    share = member / jnp.maximum(size, 1.0)[..., None, :]
    to_members = distance @ share
    spread = (share * to_members).sum(-2, keepdims=True)
    to_mean = to_members - 0.5 * spread
    return _nearest(jnp.where(size[..., None, :] > 0, to_mean, jnp.inf))


def _nearest(to_centre: Array) -> Array:
    return jnp.argmin(to_centre, axis=-1).astype(jnp.int32)
