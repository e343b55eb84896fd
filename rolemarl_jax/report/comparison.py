"""Algorithms compared over seeds and worlds: profiles, improvement, efficiency.

Definitions follow Agarwal et al. 2021, arXiv:2108.13264 (section 4), as rliable has
them; intervals are percentile bootstraps that resample the runs of each world on their
own. In profiles and improvement worlds weigh the same, however many runs they have; in
efficiency runs do. Of fewer than ``stats.ENOUGH`` runs in some world no interval is
given: its ends are NaN.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from rolemarl_jax.report import stats
from rolemarl_jax.report.stats import Floats, Interval

Worlds = Sequence[ArrayLike]  # scores `[R_k]` of the runs in each of K worlds


def performance_profile(scores: Worlds, thresholds: ArrayLike) -> Interval:
    """Share of runs that score more than each threshold `[P]`, mean over worlds."""
    at = np.asarray(thresholds, np.float64)
    above = [(_flat(part)[:, None] > at).astype(float) for part in scores]
    resampled = [
        drawn @ table / len(table)  # [resamples, P]
        for drawn, table in zip(_resamples(scores), above, strict=True)
    ]
    value = np.mean([table.mean(0) for table in above], axis=0)
    return _interval(value, np.mean(resampled, axis=0), scores)


def improvement(ours: Worlds, theirs: Worlds) -> Interval:
    """Probability that a run of ours scores more than one of theirs.

    Mean over worlds of Mann and Whitney's U, of all pairs; a tie counts half.

    Args:
        ours: of the algorithm that may improve.
        theirs: of the other one, in the same worlds.
    """
    value, drawn = [], []
    both = zip(ours, theirs, _resamples(ours), _resamples(theirs, seed=1), strict=True)
    for mine, other, of_mine, of_other in both:
        x, y = _flat(mine)[:, None], _flat(other)[None]
        wins = (x > y) + 0.5 * (x == y)  # [R_x, R_y]
        value.append(wins.mean())
        drawn.append(((of_mine @ wins) * of_other).sum(1) / wins.size)
    return _interval(np.mean(value), np.mean(drawn, axis=0), [*ours, *theirs])


def efficiency(curves: Sequence[ArrayLike]) -> Interval:
    """IQM over the runs of all worlds, pooled, at each point as training goes on.

    Args:
        curves: `[R_k, P]` of each world; NaN marks a missing value.
    """
    tables = [np.asarray(table, np.float64) for table in curves]
    points = [
        [table[~np.isnan(table[:, p]), p] for table in tables]
        for p in range(tables[0].shape[1])
    ]
    found = [_pooled(strata) for strata in points]
    return Interval(*(np.array(column) for column in zip(*found, strict=True)))


def _pooled(strata: Sequence[Floats]) -> Interval:
    """One point; NaN where a world has no run there."""
    if not all(len(part) for part in strata):
        return Interval(np.nan, np.nan, np.nan)
    found = stats.pooled_ci(strata)
    enough = _enough(strata)
    return found if enough else Interval(found.value, np.nan, np.nan)


def _resamples(scores: Worlds, seed: int = 0) -> list[np.ndarray]:
    """How often each run is drawn `[resamples, R_k]`, by world."""
    sizes = [len(_flat(part)) for part in scores]
    drawn = stats.counts(sizes, seed)
    return np.split(drawn, np.cumsum(sizes)[:-1], axis=1)


def _interval(value: ArrayLike, drawn: Floats, scores: Worlds) -> Interval:
    """Percentiles of resamples `[resamples, ...]`."""
    tails = [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2]
    ends = np.quantile(drawn, tails, axis=0)
    low, high = ends if _enough(scores) else np.full_like(ends, np.nan)
    return Interval(*map(_plain, (value, low, high)))


def _enough(scores: Worlds) -> bool:
    return min(len(_flat(part)) for part in scores) >= stats.ENOUGH


def _plain(values: ArrayLike) -> float | Floats:
    found = np.asarray(values, np.float64)
    return found if found.ndim else float(found)


_flat = partial(np.asarray, dtype=np.float64)
