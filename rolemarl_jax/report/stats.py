"""Statistics over independent runs: robust averages and honest intervals.

Definitions follow Agarwal et al. 2021, "Deep RL at the Edge of the Statistical
Precipice", arXiv:2108.13264 (section 4): the interquartile mean is the mean of the
middle half of all scores, and its confidence interval comes from a percentile
bootstrap stratified by task, in which each task's runs are resampled on their own.

A resample of n scores is a vector of counts, and the mean of its middle half is a
weighted sum of the sorted scores. So one matrix of weights serves every point of
a learning curve, and thousands of seeds cost one matrix product.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
ENOUGH = 5  # runs; of fewer no interval is claimed, and their range is told
RESAMPLES = 2000
TRIM = 0.25

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A statistic and its confidence interval: floats, or arrays `[P]` of a curve.

    Attributes:
        value: the statistic.
        low: lower end.
        high: upper end.
    """

    value: Any
    low: Any
    high: Any


def iqm(scores: ArrayLike) -> float:
    """Mean of the middle half of `scores` (any shape, pooled); NaN when empty.

    A quarter of the scores, rounded down, is cut at either end.
    """
    pooled = np.sort(np.asarray(scores, np.float64), axis=None)
    cut = int(TRIM * pooled.size)
    return float(pooled[cut : pooled.size - cut].mean()) if pooled.size else np.nan


def iqm_ci(scores: ArrayLike, level: float = LEVEL, seed: int = 0) -> Interval:
    """IQM of `scores` `[R]` or `[R, K]` (R runs of K tasks) with its interval.

    Strata are the tasks: resampling draws R of each task's R runs.
    """
    return pooled_ci(_strata(scores), TRIM, level, seed)


def over_seeds(scores: ArrayLike) -> Interval:
    """IQM of `[R]` scores and its interval; of fewer than `ENOUGH` runs their range."""
    known = np.asarray(scores, np.float64)
    if known.size >= ENOUGH:
        return iqm_ci(known)
    if not known.size:
        return Interval(np.nan, np.nan, np.nan)
    return Interval(iqm(known), float(known.min()), float(known.max()))


def band(seeds: int) -> str:
    """What the brackets of so many seeds are: ``95 % interval over 8 seeds``."""
    if seeds >= ENOUGH:
        return f"95 % interval over {seeds} seeds"
    if seeds > 1:
        return f"range over {seeds} seeds"
    return "one seed" if seeds else "no seed evaluated"


def nested_ci(
    scores: ArrayLike, level: float = LEVEL, seed: int = 0, *, rates: bool = False
) -> Interval:
    """IQM over runs of their mean over episodes, `scores` `[R, E]`, with its interval.

    A bootstrap of two levels (Davison and Hinkley 1997, section 3.8): runs are drawn,
    and of each drawn run its episodes, so that the interval of a single run tells how
    surely its episodes have measured it.

    Args:
        rates: scores are 0 or 1. The rate of a drawn run comes from Jeffreys' posterior
            (Brown, Cai and DasGupta 2001, section 3.1.3) instead of its episodes, which
            tell of no doubt where all ended alike.
    """
    table = np.asarray(scores, np.float64)
    runs, episodes = table.shape
    rng = np.random.default_rng(seed)
    if rates:
        wins = table.sum(1)
        means = rng.beta(wins + 0.5, episodes - wins + 0.5, (RESAMPLES, runs))
    else:
        counts = rng.multinomial(episodes, np.full(episodes, 1 / episodes), RESAMPLES)
        means = counts @ table.T / episodes  # [resamples, R]
    # Each drawn run takes a resample of its own episodes.
    drawn = rng.integers(0, runs, (RESAMPLES, runs))
    which = rng.integers(0, RESAMPLES, (RESAMPLES, runs))
    resampled = np.sort(means[which, drawn], axis=1)
    cut = int(TRIM * runs)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(resampled[:, cut : runs - cut].mean(1), tails)
    value = iqm(table.mean(1))
    return Interval(value, min(value, float(low)), max(value, float(high)))


def curve_ci(values: ArrayLike, level: float = LEVEL, seed: int = 0) -> Interval:
    """IQM over runs at each point of learning curves `[R, P]`, pointwise interval.

    NaN marks a missing value: it is left out at its point, and a point where all
    are missing is NaN. A point of fewer than `ENOUGH` runs has their range.
    """
    curves = np.asarray(values, np.float64)
    points = [curves[~np.isnan(curves[:, p]), p] for p in range(curves.shape[1])]
    sizes = {len(v) for v in points}
    weights = {size: _weights(counts([size], seed), TRIM) for size in sizes}
    rows = [
        _interval(np.sort(v), weights[len(v)], TRIM, level)
        if len(v) >= ENOUGH
        else over_seeds(v)
        for v in points
    ]
    return Interval(*(np.array(column) for column in zip(*rows, strict=True)))


def wilson(wins: int, episodes: int, level: float = LEVEL) -> Interval:
    """Win rate of one policy over `episodes`, with Wilson's score interval.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
    Inference"; unlike the normal interval it stays in [0, 1].
    """
    if episodes == 0:
        return Interval(np.nan, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, shrink = wins / episodes, 1 + z**2 / episodes
    centre = (rate + z**2 / (2 * episodes)) / shrink
    variance = rate * (1 - rate) / episodes + z**2 / (4 * episodes**2)
    half = z * variance**0.5 / shrink
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))


def text(found: Interval, form: str) -> str:
    """``0.50 [0.40, 0.60]``; ``none`` where nothing is known.

    Args:
        found: of floats.
        form: how each number is formatted, e.g. ``.2f``.
    """
    if np.isnan(found.value):
        return "none"
    value, low, high = (format(number, form) for number in found)
    return f"{value} [{low}, {high}]"


def pooled_ci(
    strata: Sequence[ArrayLike], trim: float = TRIM, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Trimmed mean of the scores of several tasks, pooled, with its interval.

    Args:
        strata: `[R_k]` of each task, whose runs are resampled on their own.
        trim: share of all scores that is cut at either end.
    """
    parts = [np.asarray(part, np.float64) for part in strata]
    pooled = np.concatenate(parts)
    order = np.argsort(pooled, kind="stable")
    drawn = counts([len(part) for part in parts], seed)[:, order]
    return _interval(pooled[order], _weights(drawn, trim), trim, level)


def _strata(scores: ArrayLike) -> list[Floats]:
    """Columns of `[R]` or `[R, K]`."""
    table = np.asarray(scores, np.float64)
    return list(table.reshape(table.shape[0], -1).T)


def _interval(ordered: Floats, weights: Floats, trim: float, level: float) -> Interval:
    """Interval of sorted scores `[n]` from resampling weights `[resamples, n]`."""
    if not ordered.size:
        return Interval(np.nan, np.nan, np.nan)
    cut = int(trim * ordered.size)
    value = ordered[cut : ordered.size - cut].mean()
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(weights @ ordered, tails)
    return Interval(float(value), float(low), float(high))


def counts(strata: list[int], seed: int) -> NDArray[np.int64]:
    """How often each score is drawn `[resamples, sum of strata]`, by stratum."""
    rng = np.random.default_rng(seed)
    draws = [
        rng.multinomial(size, np.full(size, 1 / size), RESAMPLES)
        if size
        else np.zeros((RESAMPLES, 0), np.int64)
        for size in strata
    ]
    return np.concatenate(draws, axis=1)


def _weights(drawn: NDArray[np.int64], trim: float) -> Floats:
    """Weights of sorted scores in the trimmed mean of each resample."""
    size = drawn.shape[1]
    cut = int(trim * size)
    upper = np.clip(np.cumsum(drawn, axis=1), cut, size - cut)
    kept = np.diff(upper, axis=1, prepend=cut)
    return kept / max(1, size - 2 * cut)
