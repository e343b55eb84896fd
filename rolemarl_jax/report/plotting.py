"""Learning curves of a run: what was learned, how surely, and what the losses did.

The object interface of matplotlib is used throughout: nothing here touches global
state, so curves may be drawn from any thread while a run goes on.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rolemarl_jax import members
from rolemarl_jax.disk import rundir
from rolemarl_jax.members import Row
from rolemarl_jax.report import canvas, curve, lines, stats
from rolemarl_jax.report.curve import Table
from rolemarl_jax.report.summary import MEASURES

PANELS_A_ROW = 4
STILL = 1e-3  # of its size: a metric that moves less is drawn as one that does not
HIDDEN = {*MEASURES, "updates", "episodes", "wall_s"}


def curves(
    runs: Mapping[str, Sequence[Row] | Path | str],
    out: Path | str,
    title: str = "",
    *,
    losses: bool = False,
    measures: Sequence[str] = tuple(MEASURES),
) -> Path:
    """Draws win rate and return of one or more runs of one world.

    Each combination of swept hyper-parameters has a curve of its own. Bold lines are
    interquartile means over seeds, bands their 95 % bootstrap intervals (of fewer than
    five seeds their range), thin lines single seeds. The file appears as a whole or not
    at all.

    Args:
        runs: by label: rows, or a run directory or its ``metrics.jsonl``.
        out: where the picture goes: a name in ``.png``, ``.pdf`` or ``.svg``.
        title: printed above the panels.
        losses: whether every loss and metric of training has a panel, too.
        measures: those of ``summary.MEASURES`` that have a panel.

    Returns:
        ``out``, as a path.
    """
    rows = {
        f"{label} {members.text(hypers)}".rstrip(): part
        for label, source in runs.items()
        for hypers, part in members.grouped(_rows(source))
    }
    split = (
        "test"
        if any(r["split"] == "test" for v in rows.values() for r in v)
        else "train"
    )
    main = [key for key in measures if _has(rows, split, key)] or ["return"]
    small = _metrics(rows) if losses else []
    figure, heads, panels = _canvas(len(main), len(small))
    for axes, key in zip(heads, main, strict=True):
        _draw(axes, rows, split, key, lines=True)
        canvas.label(axes, f"{MEASURES[key]} ({split})", 11)
        if key == "win_rate":
            canvas.percent(axes)
    for axes, key in zip(panels, small, strict=True):
        _draw(axes, rows, "train", key, lines=False)
        canvas.label(axes, key, 9)
        _scaled(axes)
    canvas.legend(figure, heads[:1])
    canvas.heading(figure, title, canvas.note([_seeds(run) for run in rows.values()]))
    return canvas.save(figure, Path(out))


def multiples(
    runs: Mapping[str, Sequence[Row] | Path | str],
    out: Path | str,
    key: str,
    title: str = "",
) -> Path:
    """Draws one metric of many runs, a panel each, with the other runs in grey behind.

    Args:
        runs, out, title: as in ``curves``.
        key: a metric of the test episodes, ``win_rate`` or ``return``.

    Returns:
        ``out``, as a path.
    """
    rows = {label: _rows(source) for label, source in runs.items()}
    columns = min(PANELS_A_ROW, len(rows))
    height = 0.8 + 2.3 * ceil(len(rows) / columns)
    figure = canvas.blank(11, height)
    found = {label: curve.table(run, "test", key) for label, run in rows.items()}
    limits = _limits(list(found.values()), key)
    centres = [
        (t.steps, stats.curve_ci(t.values)[0]) for t in found.values() if len(t.steps)
    ]
    for index, label in enumerate(rows):
        axes = figure.add_subplot(ceil(len(rows) / columns), columns, index + 1)
        for steps, centre in centres:
            axes.plot(steps, centre, color=canvas.FAINT, lw=0.8)
        _draw(axes, {label: rows[label]}, "test", key, lines=True)
        canvas.label(axes, label, 10)
        axes.set_ylim(*limits)
        if key == "win_rate":
            canvas.percent(axes)
    how = canvas.note([len(found.seeds) for found in found.values()])
    canvas.heading(
        figure,
        f"{title}: {MEASURES[key].lower()} (test) over environment steps",
        ", ".join(filter(None, [how, "grey: the other runs"])),
    )
    return canvas.save(figure, Path(out))


def _limits(tables: Sequence[Table], key: str) -> tuple[float, float]:
    """Range that all panels share."""
    if key == "win_rate":
        return -0.03, 1.03
    values = np.concatenate([t.values.ravel() for t in tables] or [np.zeros(1)])
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    margin = 0.03 * (high - low or 1.0)
    return low - margin, high + margin


def _rows(source: Sequence[Row] | Path | str) -> Sequence[Row]:
    """Rows as given, or those of a run directory or of a metrics file."""
    if not isinstance(source, Path | str):
        return source
    path = Path(source)
    return lines.read(path / rundir.METRICS if path.is_dir() else path)


def _has(rows: Mapping[str, Sequence[Row]], split: str, key: str) -> bool:
    """Whether any run has a finite value of a metric."""
    found = (r.get(key) for v in rows.values() for r in v if r["split"] == split)
    return any(value is not None and np.isfinite(value) for value in found)


def _metrics(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Names of the metrics for the small panels, in order of appearance."""
    names = {
        k: None for v in rows.values() for r in v if r["split"] == "train" for k in r
    }
    hidden = {n for n in names if n in HIDDEN or lines.is_label(n)}
    return [n for n in names if n not in hidden and _has(rows, "train", n)]


def _canvas(main: int, small: int) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure with its large panels above and its small ones below."""
    below = ceil(small / PANELS_A_ROW)
    figure = canvas.blank(11, 4.6 + 2.1 * below)
    grid = figure.add_gridspec(1 + below, 4 * main, height_ratios=[2.0] + [1.0] * below)
    heads = [figure.add_subplot(grid[0, 4 * i : 4 * i + 4]) for i in range(main)]
    panels = [
        figure.add_subplot(
            grid[1 + i // PANELS_A_ROW, main * (i % 4) : main * (i % 4 + 1)]
        )
        for i in range(small)
    ]
    return figure, heads, panels


def _draw(
    axes: Axes, rows: Mapping[str, Sequence[Row]], split: str, key: str, *, lines: bool
) -> None:
    """Curves of one metric, a colour for each run."""
    for index, (label, run) in enumerate(rows.items()):
        curve.draw(axes, curve.table(run, split, key), label, index, lines=lines)


def _seeds(rows: Sequence[Row]) -> int:
    return len({row["seed"] for row in rows})


def _scaled(axes: Axes) -> None:
    """Logarithmic scale for what starts high and ends near zero, as losses do.

    What hardly moves has its own size about it, and no offset above the axis.
    """
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    values = np.concatenate([v[np.isfinite(v)] for v in drawn] or [np.zeros(1)])
    if not values.size:
        return
    low, high = values.min(), values.max()
    if low > 0 and high > 10 * np.median(values):
        axes.set_yscale("log")
        return
    axes.ticklabel_format(axis="y", useOffset=False)
    if high - low < STILL * abs(high):
        axes.set_ylim(*sorted((0.95 * low, 1.05 * high)))
