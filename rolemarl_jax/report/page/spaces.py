"""Roles as points of a plane, and clusters that keep their numbers over time."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from rolemarl_jax.report.page.episode import Space

MOST_POINTS = 2000  # of t-SNE, which takes seconds for as many


def spaces(role: np.ndarray, alive: np.ndarray) -> tuple[Space, ...]:
    """Views of the roles of S steps: as they are where that can be drawn, else PCA.

    Then t-SNE, where there are not too many points, and not all of them one: of no
    variance its library makes NaN, and crashes.

    Args:
        role: ``[S, N, Z]``. alive: ``[S, N]`` bool; the dead are left out.
    """
    points, size = role[alive], role.shape[-1]
    if size in (2, 3):
        found = [
            (f"dimensions {a + 1} and {b + 1}", _axes(a, b), points[:, [a, b]])
            for a, b in combinations(range(size), 2)
        ]
    else:
        found = [_pca(points)]
    if size > 2 and 10 <= len(points) <= MOST_POINTS and np.ptp(points, axis=0).any():
        found.append(("t-SNE", ("", ""), _tsne(points)))
    return tuple(
        Space(name, axes, _spread(at, alive), (_ends(at[:, 0]), _ends(at[:, 1])))
        for name, axes, at in found
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Of an axis, with some room where all points are one."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _axes(a: int, b: int) -> tuple[str, str]:
    return f"role dimension {a + 1}", f"role dimension {b + 1}"


def _spread(points: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Points ``[K, 2]`` of the living as ``[S, N, 2]``, NaN for the dead."""
    whole = np.full((*alive.shape, 2), np.nan, np.float32)
    whole[alive] = points
    return whole


def _pca(points: np.ndarray) -> tuple[str, tuple[str, str], np.ndarray]:
    """The two directions of most variance, and their shares of it."""
    centred = points - points.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    share = np.zeros(2)
    part = sizes[:2] ** 2 / max(float((sizes**2).sum()), 1e-12)
    share[: len(part)] = part
    at = np.zeros((len(points), 2))
    at[:, : len(part)] = centred @ directions[:2].T
    first, second = (f"PC {i + 1} ({value:.0%})" for i, value in enumerate(share))
    return "PCA", (first, second), at


def _tsne(points: np.ndarray) -> np.ndarray:
    # Its import takes a second, and only a page needs it.
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    net = TSNE(perplexity=perplexity, init="pca", random_state=0)
    return net.fit_transform(points.astype(np.float32))


def matched(
    labels: Sequence[np.ndarray] | np.ndarray, points: np.ndarray, alive: np.ndarray
) -> np.ndarray:
    """Clusters of S steps under numbers that stay.

    The clusters of each step get those numbers whose last centres are nearest
    (Hungarian matching); an agent that is dead keeps its last one.

    Args:
        labels: ``[S, N]`` of each step by itself. points: what was clustered,
            ``[S, N, D]``. alive: ``[S, N]`` bool.
    """
    labels = np.asarray(labels)
    count = int(labels.max(initial=0)) + 1
    centres = np.full((count, points.shape[-1]), np.nan)
    kept, last = np.zeros_like(labels), np.zeros_like(labels[0])
    for t in range(len(labels)):
        there = np.unique(labels[t][alive[t]])
        now = [points[t][alive[t] & (labels[t] == one)].mean(0) for one in there]
        if len(now):
            numbers = _numbers(np.stack(now), centres)
            centres[numbers] = now
            table = dict(zip(there.tolist(), numbers.tolist(), strict=True))
            fresh = [table.get(one, 0) for one in labels[t].tolist()]
            last = np.where(alive[t], fresh, last)
        kept[t] = last
    return kept


def _numbers(now: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """A number for each of the centres ``now``; those never used cost the most."""
    away = np.linalg.norm(now[:, None] - centres[None], axis=-1)
    most = np.nan_to_num(away, nan=0.0).max() + 1.0
    # A slope, so that numbers that were never used are taken in order.
    unused = most * (1 + 1e-6 * np.arange(len(centres)))
    cost = np.where(np.isnan(away), unused[None], away)
    return linear_sum_assignment(cost)[1]
