"""Comparisons of algorithms against plain loops written from rliable's definitions."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from rolemarl_jax.report import comparison, stats

RNG = np.random.default_rng(0)
OURS = [RNG.integers(0, 6, 8) / 5, RNG.integers(0, 6, 7) / 5]  # with ties
THEIRS = [RNG.integers(0, 6, 6) / 5, RNG.integers(0, 6, 9) / 5]


def resampled(worlds, rng):
    return [part[rng.integers(len(part), size=len(part))] for part in worlds]


def interval(statistic, *sets, tries=600):
    """A stratified percentile bootstrap, one resample after another."""
    rng = np.random.default_rng(9)
    found = [statistic(*(resampled(s, rng) for s in sets)) for _ in range(tries)]
    return np.quantile(found, [0.025, 0.975], axis=0)


def require_close(got, want, width=0.2):
    low, high = want
    slack = width * (high - low) + 0.02
    assert np.all(np.abs(got.low - low) <= slack)
    assert np.all(np.abs(got.high - high) <= slack)


def profile(worlds, at=(0.0, 0.3, 0.6, 1.0)):
    # rliable's run_score_deviation: np.mean(score > tau) over runs, then tasks.
    return np.array([np.mean([np.mean(part > t) for part in worlds]) for t in at])


def test_profile():
    got = comparison.performance_profile(OURS, [0.0, 0.3, 0.6, 1.0])
    np.testing.assert_allclose(got.value, profile(OURS))
    assert got.value[-1] == 0  # more than, not at least
    require_close(got, interval(profile, OURS))


def improvement(ours, theirs):
    """Mann and Whitney's U over the number of pairs, as rliable has it."""
    found = []
    for mine, other in zip(ours, theirs, strict=True):
        points = [1.0 if x > y else 0.5 if x == y else 0.0 for x in mine for y in other]
        found.append(sum(points) / len(points))
    return np.mean(found)


def test_probability_of_improvement():
    got = comparison.improvement(OURS, THEIRS)
    assert got.value == pytest.approx(improvement(OURS, THEIRS))
    require_close(got, interval(improvement, OURS, THEIRS))
    pairs = zip(OURS, THEIRS, strict=True)
    scipys = [mannwhitneyu(x, y)[0] / (len(x) * len(y)) for x, y in pairs]
    assert got.value == pytest.approx(np.mean(scipys))
    back = comparison.improvement(THEIRS, OURS)
    assert back.value == pytest.approx(1 - got.value)
    assert comparison.improvement(OURS, OURS).value == 0.5


def test_efficiency_is_the_pooled_iqm_at_each_point():
    curves = [np.stack([part, part**2], 1) for part in OURS]
    got = comparison.efficiency(curves)

    def pooled(worlds):
        return trim_mean(np.concatenate(worlds), 0.25)

    for point, power in enumerate((1, 2)):
        raised = [part**power for part in OURS]
        assert got.value[point] == pytest.approx(pooled(raised))
        one = stats.Interval(*(column[point] for column in got))
        require_close(one, interval(pooled, raised))
    curves[1][:, 1] = np.nan
    assert np.isnan(comparison.efficiency(curves).value).tolist() == [False, True]


def test_few_runs_of_one_world_have_no_interval():
    few = [OURS[0], OURS[1][:4]]
    for got in (
        comparison.performance_profile(few, [0.5]),
        comparison.improvement(OURS, few),
        comparison.efficiency([part[:, None] for part in few]),
    ):
        assert np.isfinite(got.value).all()
        assert np.isnan(got.low).all() and np.isnan(got.high).all()


def test_fewer_than_five_seeds_have_a_range():
    assert stats.over_seeds([3.0, 1.0, 8.0, 2.0]) == (2.5, 1.0, 8.0)
    five = [3.0, 1.0, 8.0, 2.0, 2.0]
    assert stats.over_seeds(five) == stats.iqm_ci(five)
    assert stats.band(4) == "range over 4 seeds"
    assert stats.band(5) == "95 % interval over 5 seeds"
    assert stats.band(1) == "one seed"
