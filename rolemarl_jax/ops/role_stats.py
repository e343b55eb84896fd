"""What roles are like: how they cluster, what they tell, how they change, what they do.

Masked points count nothing. A statistic that has no value (one cluster, one type,
nobody alive) is NaN.
"""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.types import Array, Key


def mean_where(x: Array, there: Array) -> Array:
    """Mean of ``x`` `[...]` over the entries that are there, NaN if none is."""
    chex.assert_equal_shape([x, there])
    chex.assert_type([x, there], [float, bool])
    return jnp.where(there, x, 0.0).sum() / there.sum()


def draw(there: Array, count: int, key: Key) -> tuple[Array, Array]:
    """Some of the points that are there, uniform, without replacement.

    Args:
        there: `[P]` bool. count: how many, at most P.

    Returns:
        Their indices `[count]`, and `[count]` bool: false where there were too few.
    """
    chex.assert_rank(there, 1)
    chex.assert_type(there, bool)
    lottery = jnp.where(there, jax.random.uniform(key, there.shape), -1.0)
    score, pick = jax.lax.top_k(lottery, count)
    return pick, score >= 0


def centres(x: Array, there: Array, k: int, iterations: int) -> Array:
    """Means `[k, Z]` of K-means clusters of `[P, Z]`; infinite where one is empty.

    Points are taken relative to their mean, so that roles that hardly differ are told
    apart as well as those that do.
    """
    chex.assert_shape(there, x.shape[:1])
    chex.assert_type([x, there], [float, bool])
    weight = there.astype(x.dtype)
    middle = weight @ jnp.where(there[:, None], x, 0.0) / jnp.maximum(weight.sum(), 1)
    x = jnp.where(there[:, None], x - middle, 0.0)
    member = jax.nn.one_hot(kmeans(x, k, iterations, there), k) * weight[:, None]
    size = member.sum(0)[:, None]
    means = member.T @ x / jnp.maximum(size, 1.0)
    return jnp.where(size > 0, means + middle, jnp.inf)


def nearest(x: Array, means: Array) -> Array:
    """Index of the nearest of `[k, Z]` centres, `[..., Z]` to `[...]` int32."""
    chex.assert_shape([x, means], [(..., means.shape[-1]), (None, None)])
    chex.assert_type([x, means], float)
    # One centre after the other: all differences at once would be k times the points.
    distance = [((x - mean) ** 2).sum(-1) for mean in means]
    return jnp.argmin(jnp.stack(distance, -1), axis=-1).astype(jnp.int32)


def shares(labels: Array, there: Array, k: int) -> Array:
    """Share of the points in each of k clusters, `[...]` to `[k]`; NaN without any."""
    chex.assert_equal_shape([labels, there])
    chex.assert_type([labels, there], [int, bool])
    member = jax.nn.one_hot(labels, k) * there[..., None]
    return member.reshape(-1, k).sum(0) / there.sum()


def silhouette(x: Array, labels: Array, there: Array, k: int) -> Array:
    """Mean silhouette in [-1, 1] (Rousseeuw 1987), NaN with fewer than two clusters.

    ``(b - a) / max(a, b)`` with a the mean Euclidean distance to the others of the own
    cluster and b to those of the nearest other one; 0 for a point alone in its cluster.

    Args:
        x: `[P, Z]`. labels: `[P]` in 0..k-1. there: `[P]` bool.
    """
    chex.assert_shape([labels, there], x.shape[:1])
    chex.assert_type([x, labels, there], [float, int, bool])
    x = jnp.where(there[:, None], x, 0.0)
    # Row by row: all differences at once would be Z times the distances.
    distance = jax.lax.map(lambda row: jnp.sqrt(((x - row) ** 2).sum(-1)), x)
    member = jax.nn.one_hot(labels, k) * there[:, None]
    size, total = member.sum(0), distance @ member
    own = member > 0
    others = jnp.where(own, size - 1, size)
    mean = total / jnp.maximum(others, 1)
    a = jnp.where(own, mean, 0.0).sum(-1)
    b = jnp.where(own | (size == 0), jnp.inf, mean).min(-1)
    alone = jnp.where(own, size, 0.0).sum(-1) == 1
    larger = jnp.maximum(a, b)
    value = jnp.where(alone | (larger == 0), 0.0, (b - a) / larger)
    several = (size > 0).sum() >= 2
    return jnp.where(several, mean_where(value, there), jnp.nan)


def mutual_information(
    a: Array, b: Array, there: Array, sizes: tuple[int, int]
) -> tuple[Array, Array]:
    """What two labels tell of each other, by their frequencies.

    Args:
        a, b: labels `[...]`, in 0..size-1 of ``sizes``. there: `[...]` bool.

    Returns:
        Nats, and twice them over the sum of both entropies, in [0, 1]. Both are NaN
        where either label has one value only.
    """
    chex.assert_equal_shape([a, b, there])
    chex.assert_type([a, b, there], [int, int, bool])
    first, second = (
        jax.nn.one_hot(x.reshape(-1), n) for x, n in zip((a, b), sizes, strict=True)
    )
    joint = (first * there.reshape(-1, 1)).T @ second
    joint = joint / jnp.maximum(joint.sum(), 1)
    h_a, h_b, h_ab = _entropy(joint.sum(1)), _entropy(joint.sum(0)), _entropy(joint)
    # Rounding may make what cannot be negative so.
    nats = jnp.maximum(h_a + h_b - h_ab, 0.0)
    varied = ((joint.sum(1) > 0).sum() > 1) & ((joint.sum(0) > 0).sum() > 1)
    share = jnp.minimum(2 * nats / (h_a + h_b), 1.0)
    return jnp.where(varied, nats, jnp.nan), jnp.where(varied, share, jnp.nan)


def _entropy(p: Array) -> Array:
    """Nats, of all entries of a distribution."""
    return -jax.scipy.special.xlogy(p, p).sum()


def switching(labels: Array, there: Array) -> Array:
    """Share of points whose label is another one a step later; both must be there.

    Args:
        labels: `[T, ...]` int. there: `[T, ...]` bool.
    """
    chex.assert_equal_shape([labels, there])
    chex.assert_type([labels, there], [int, bool])
    changed = (labels[1:] != labels[:-1]).astype(jnp.float32)
    return mean_where(changed, there[1:] & there[:-1])


def jensen_shannon(p: Array, q: Array, avail: Array) -> Array:
    """Divergence of two softmax policies in nats, at most log 2.

    Args:
        p, q: logits `[..., A]`. avail: `[..., A]` bool, actions that there are; one or
            more.

    Returns:
        `[...]`, exactly 0 for equal logits.
    """
    chex.assert_equal_shape([p, q, avail])
    chex.assert_type([p, q, avail], [float, float, bool])
    p, q = (jax.nn.softmax(jnp.where(avail, x, -jnp.inf)) for x in (p, q))
    middle = (p + q) / 2
    # With the logarithm of a quotient, equal policies differ by log 1.
    log_p, log_q = (jnp.log(jnp.where(x > 0, x / middle, 1.0)) for x in (p, q))
    return (p * log_p + q * log_q).sum(-1) / 2


def attention(weight: Array, there: Array) -> dict[str, Array]:
    """How attention is spread: means over steps and queries, by head and over heads.

    Args:
        weight: `[..., H, N, N]`, each row a distribution. there: `[...]` bool.

    Returns:
        ``entropy``, over ``log N``, and ``top``, the greatest weight of a row, which is
        1/N or more: of all heads, and of head h as ``entropy_h`` and ``top_h``.
    """
    chex.assert_shape(there, weight.shape[:-3])
    chex.assert_type([weight, there], [float, bool])
    n = weight.shape[-1]
    spread = -jax.scipy.special.xlogy(weight, weight).sum(-1).mean(-1) / jnp.log(n)
    top = weight.max(-1).mean(-1)
    found = {}
    for name, by_head in (("entropy", spread), ("top", top)):
        found[name] = mean_where(by_head.mean(-1), there)
        for h in range(weight.shape[-3]):
            found[f"{name}_{h}"] = mean_where(by_head[..., h], there)
    return found
