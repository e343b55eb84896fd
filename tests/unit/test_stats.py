"""Statistics against hand values, scipy and a plain loop."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from rolemarl_jax.report import stats


def test_iqm_by_hand():
    # One of five is cut at either end: (2 + 3 + 4) / 3.
    assert stats.iqm([100.0, 2.0, 3.0, 4.0, -50.0]) == 3.0
    assert stats.iqm([1.0, 2.0]) == 1.5
    assert np.isnan(stats.iqm([]))


@pytest.mark.parametrize("shape", [(1,), (3,), (8,), (5, 4), (10, 3)])
def test_iqm_is_scipys_trimmed_mean(shape):
    scores = np.random.default_rng(1).normal(size=shape)
    want = trim_mean(scores, 0.25, axis=None)
    assert stats.iqm(scores) == pytest.approx(want)
    assert stats.iqm_ci(scores).value == pytest.approx(want)


@pytest.mark.parametrize("shape", [(7,), (6, 3)])
def test_interval_matches_a_plain_stratified_bootstrap(shape):
    rng = np.random.default_rng(2)
    scores = rng.gamma(2.0, size=shape)
    table = scores.reshape(shape[0], -1)
    draws = []
    for _ in range(4000):
        rows = rng.integers(len(table), size=table.shape)
        draws.append(trim_mean(np.take_along_axis(table, rows, 0), 0.25, axis=None))
    low, high = np.quantile(draws, [0.025, 0.975])
    got = stats.iqm_ci(scores)
    width = high - low
    assert got.low == pytest.approx(low, abs=0.08 * width)
    assert got.high == pytest.approx(high, abs=0.08 * width)


def test_interval_is_stratified():
    # Runs agree within each task; only mixing tasks could make the interval wide.
    scores = np.tile([0.0, 1.0], (5, 1))
    assert stats.pooled_ci(list(scores.T), trim=0.0) == (0.5, 0.5, 0.5)


def test_interval_covers_the_truth():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        got = stats.pooled_ci([rng.normal(size=40)], trim=0.0)
        hits += got.low <= 0.0 <= got.high
    assert 0.88 <= hits / 200 <= 0.99


def test_interval_is_repeatable_and_depends_on_seed():
    scores = np.random.default_rng(4).normal(size=9)
    assert stats.iqm_ci(scores) == stats.iqm_ci(scores)
    assert stats.iqm_ci(scores) != stats.iqm_ci(scores, seed=1)


def test_curve_equals_its_points_and_skips_missing_values():
    values = np.random.default_rng(5).normal(size=(6, 3))
    values[0, 1] = np.nan
    values[:, 2] = np.nan
    got = stats.curve_ci(values)
    assert np.isnan([column[2] for column in got]).all()
    for point, kept in ((0, values[:, 0]), (1, values[1:, 1])):
        want = stats.iqm_ci(np.sort(kept))
        assert [column[point] for column in got] == pytest.approx(list(want))


def test_a_single_run_has_the_interval_of_its_episodes():
    won = np.repeat([1.0, 0.0], [70, 30])[None]
    value, low, high = stats.nested_ci(won)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 100)
    assert value == pytest.approx(0.7)
    np.testing.assert_allclose([low, high], [0.7 - half, 0.7 + half], atol=0.015)
    rate = stats.nested_ci(won, rates=True)
    np.testing.assert_allclose(rate, [value, low, high], atol=0.015)
    sure = stats.nested_ci(np.ones((1, 100)), rates=True)
    np.testing.assert_allclose(sure, stats.wilson(100, 100), atol=0.02)


def test_two_levels_are_one_where_episodes_do_not_vary():
    runs = np.random.default_rng(3).normal(size=9)
    two = stats.nested_ci(np.repeat(runs[:, None], 5, axis=1))
    np.testing.assert_allclose(two, stats.iqm_ci(runs), atol=0.15)
    # Episodes that vary as much as runs add to what is not known.
    noisy = runs[:, None] + 3 * np.random.default_rng(4).normal(size=(9, 8))
    within, between = stats.nested_ci(noisy), stats.iqm_ci(noisy.mean(1))
    assert within.high - within.low > between.high - between.low


def test_intervals_are_told_in_one_way():
    found = stats.Interval(0.5, 0.4, 0.6)
    assert stats.text(found, ".2f") == "0.50 [0.40, 0.60]"
    assert stats.text(found, ".1%") == "50.0% [40.0%, 60.0%]"
    assert stats.text(stats.Interval(np.nan, np.nan, np.nan), ".2f") == "none"


def test_wilson_by_hand():
    # 8 of 10, z = 1.96: centre (0.8 + 0.19207) / 1.38414.
    rate, low, high = stats.wilson(8, 10)
    assert (rate, low, high) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    assert stats.wilson(0, 32).low == 0.0
    assert stats.wilson(32, 32).high == pytest.approx(1.0)
    assert stats.wilson(0, 0)[1:] == (0.0, 1.0)
