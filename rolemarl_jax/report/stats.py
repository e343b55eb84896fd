"""Statistics over independent runs: robust averages and honest intervals.

Definitions follow Agarwal et al. 2021, "Deep RL at the Edge of the Statistical
Precipice", arXiv:2108.13264 (section 4): the interquartile mean is the mean of the
middle half of all scores, and its confidence interval comes from a percentile
bootstrap stratified by task, in which each task's runs are resampled on their own.

A resample of n scores is a vector of counts, and the mean of its middle half is a
weighted sum of the sorted scores. So one matrix of weights serves every point of
a learning curve, and thousands of seeds cost one matrix product.
"""

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
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
    return _bootstrap(scores, TRIM, level, seed)


def mean_ci(scores: ArrayLike, level: float = LEVEL, seed: int = 0) -> Interval:
    """Mean of `scores` `[R]` or `[R, K]` with its stratified bootstrap interval."""
    return _bootstrap(scores, 0.0, level, seed)


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
    are missing is NaN.
    """
    curves = np.asarray(values, np.float64)
    points = [curves[~np.isnan(curves[:, p]), p] for p in range(curves.shape[1])]
    sizes = {len(v) for v in points}
    weights = {size: _weights(_counts([size], seed), TRIM) for size in sizes}
    rows = [_interval(np.sort(v), weights[len(v)], TRIM, level) for v in points]
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


def _bootstrap(scores: ArrayLike, trim: float, level: float, seed: int) -> Interval:
    """Percentile bootstrap of a trimmed mean of `[R]` or `[R, K]`."""
    table = np.asarray(scores, np.float64)
    table = table.reshape(table.shape[0], -1)
    runs, tasks = table.shape
    pooled = table.T.ravel()
    order = np.argsort(pooled, kind="stable")
    counts = _counts([runs] * tasks, seed)[:, order]
    return _interval(pooled[order], _weights(counts, trim), trim, level)


def _interval(ordered: Floats, weights: Floats, trim: float, level: float) -> Interval:
    """Interval of sorted scores `[n]` from resampling weights `[resamples, n]`."""
    if not ordered.size:
        return Interval(np.nan, np.nan, np.nan)
    cut = int(trim * ordered.size)
    value = ordered[cut : ordered.size - cut].mean()
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(weights @ ordered, tails)
    return Interval(float(value), float(low), float(high))


def _counts(strata: list[int], seed: int) -> NDArray[np.int64]:
    """How often each score is drawn `[resamples, sum of strata]`, by stratum."""
    rng = np.random.default_rng(seed)
    draws = [
        rng.multinomial(size, np.full(size, 1 / size), RESAMPLES)
        if size
        else np.zeros((RESAMPLES, 0), np.int64)
        for size in strata
    ]
    return np.concatenate(draws, axis=1)


def _weights(counts: NDArray[np.int64], trim: float) -> Floats:
    """Weights of sorted scores in the trimmed mean of each resample."""
    size = counts.shape[1]
    cut = int(trim * size)
    upper = np.clip(np.cumsum(counts, axis=1), cut, size - cut)
    kept = np.diff(upper, axis=1, prepend=cut)
    return kept / max(1, size - 2 * cut)
