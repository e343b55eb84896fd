"""Curves: the table behind them is exact, the picture is whole and shows the data."""

import matplotlib.image
import numpy as np
import pytest

from rolemarl_jax.report import canvas, curve, loggers, plotting


def rows(seeds=3, points=5, win=True, level=2.0):
    rng = np.random.default_rng(0)
    for seed in range(seeds):
        for point in range(points):
            base = {
                "seed": seed,
                "env_steps": 100 * point,
                "updates": point,
                "stage": "train",
            }
            yield {**base, "split": "train", "return": 1.0, "td": rng.gamma(2.0)}
            rate = point / points if win else np.nan
            yield {**base, "split": "test", "return": level, "win_rate": rate}


def test_table_by_hand():
    data = [
        {"seed": 7, "env_steps": 20, "split": "test", "return": 3.0},
        {"seed": 2, "env_steps": 10, "split": "test", "return": 1.0},
        {"seed": 2, "env_steps": 20, "split": "test", "return": 2.0},
        {"seed": 2, "env_steps": 20, "split": "train", "return": 9.0},
    ]
    steps, seeds, values = curve.table(data, "test", "return")
    np.testing.assert_array_equal(steps, [10, 20])
    np.testing.assert_array_equal(seeds, [2, 7])
    np.testing.assert_array_equal(values, [[1.0, 2.0], [np.nan, 3.0]])
    assert curve.table(data, "test", "absent").values.shape == (0, 0)


def test_thinning_keeps_the_last_point():
    steps = np.arange(1000)
    thin = curve.thinned(curve.Table(steps, np.arange(1), steps[None]))
    assert len(thin.steps) <= curve.MAX_POINTS
    assert thin.steps[-1] == 999
    np.testing.assert_array_equal(thin.values[0], thin.steps)


@pytest.mark.parametrize("win", [True, False])
def test_picture_is_drawn_from_rows_and_from_files(tmp_path, win):
    logger = loggers.jsonl(tmp_path / "metrics.jsonl")
    logger.write(list(rows(win=win)))
    logger.close()
    out = tmp_path / "plots" / "curves.png"
    higher = list(rows(win=win, level=3.0))
    sources = {"a": higher, "b": tmp_path, "c": list(rows(1, 1, win=win))}
    assert plotting.curves(sources, out) == out
    assert [path.name for path in out.parent.iterdir()] == ["curves.png"]
    picture = matplotlib.image.imread(out)[..., :3]
    for colour in canvas.COLOURS[:2]:
        rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        assert (np.abs(picture - rgb).max(-1) < 0.02).sum() > 100


def test_a_run_without_evaluation_yet(tmp_path):
    train = [row for row in rows(2) if row["split"] == "train"]
    assert (
        plotting.curves({"a": train}, tmp_path / "c.png", losses=True).stat().st_size
        > 5000
    )
    assert plotting.curves({"a": []}, tmp_path / "c.png").stat().st_size > 1000


def test_losses_are_drawn_when_asked_for_and_without_offsets(tmp_path, monkeypatch):
    still = 3.4657 + 1e-6 * np.arange(4)
    train = [
        {"split": "train", "seed": 0, "env_steps": i, "return": 1.0, "chance": value}
        for i, value in enumerate(still)
    ]
    drawn = {}
    monkeypatch.setattr(canvas, "save", lambda figure, out: drawn.update({out: figure}))
    plotting.curves({"a": train}, tmp_path / "few.png")
    plotting.curves({"a": train}, tmp_path / "all.png", losses=True)
    few, every = drawn.values()
    assert len(few.axes) == 1 and len(every.axes) == 2
    low, high = every.axes[1].get_ylim()
    assert low < 0.96 * still[0] and high > 1.04 * still[0]
    assert every.axes[1].yaxis.get_major_formatter().get_useOffset() is False


@pytest.mark.parametrize("key", ["win_rate", "return"])
def test_many_runs_have_a_panel_each_and_the_others_behind(tmp_path, key):
    sources = {name: list(rows(level=i)) for i, name in enumerate("abcde")}
    out = plotting.multiples({**sources, "none": []}, tmp_path / "m.png", key, "title")
    picture = matplotlib.image.imread(out)[..., :3]
    for colour, least in ((0x00 / 255, 500), (0xBB / 255, 500)):
        first = np.abs(picture[..., 0] - colour) < 0.02
        assert first.sum() > least
    alone = plotting.multiples({"a": sources["a"]}, tmp_path / "n.png", key)
    assert matplotlib.image.imread(alone).shape[0] < picture.shape[0]


def test_titles_are_as_wide_as_their_panels():
    figure = canvas.blank(11, 4)
    grid = figure.add_gridspec(1, 12)
    for place, expected in ((grid[0, :6], "Win rate (test)"), (grid[0, 6:7], None)):
        axes = figure.add_subplot(place)
        canvas.quiet(axes, "Win rate (test)", 11)
        shown = axes.get_title(loc="left")
        assert shown == expected if expected else "\n" in shown
