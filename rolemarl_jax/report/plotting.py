"""Learning curves as a PNG: what was learned, how surely, and what the losses did.

The object interface of matplotlib is used throughout: nothing here touches global
state, so curves may be drawn from any thread while a run goes on.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from rolemarl_jax import members
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.members import Row
from rolemarl_jax.report import loggers, stats
from rolemarl_jax.report.summary import MEASURES

# Okabe and Ito's palette, distinguishable with any kind of colour vision.
# Its yellow is left out (too faint on white); further runs are dashed.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = ("-", "--", ":", "-.")
INK, GRID = "#333333", "#E6E6E6"
MAX_LINES = 32  # thin lines of single seeds, a run
MAX_POINTS = 300  # points of a curve; more cannot be told apart
PANELS_A_ROW = 4
LEGEND_LETTERS = 140  # that fit side by side
NOTE = "IQM over seeds, band: 95% bootstrap CI, thin lines: single seeds"
GREY = f"{NOTE}, grey: the other runs"
HIDDEN = {*MEASURES, "updates", "episodes", "wall_s"}


class Table(NamedTuple):
    """One metric of one run.

    Attributes:
        steps: env steps, `[P]`.
        seeds: ids, `[R]`.
        values: of the metric, `[R, P]`; NaN where a seed has none.
    """

    steps: np.ndarray
    seeds: np.ndarray
    values: np.ndarray


def curves(
    runs: Mapping[str, Sequence[Row] | Path | str], out: Path | str, title: str = ""
) -> Path:
    """Draws win rate, return and every loss of one or more runs into a PNG.

    Each combination of swept hyper-parameters has a curve of its own. Bold lines are
    interquartile means over seeds, bands their 95 % bootstrap
    intervals, thin lines single seeds. The file appears as a whole or not at all.

    Args:
        runs: by label: rows, or a run directory or its ``metrics.jsonl``.
        out: where the PNG goes.
        title: printed above the panels.

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
    main = [key for key in MEASURES if _has(rows, split, key)] or ["return"]
    small = _metrics(rows)
    figure, heads, panels = _canvas(len(main), len(small))
    for axes, key in zip(heads, main, strict=True):
        _draw(axes, rows, split, key, lines=True)
        _label(axes, f"{MEASURES[key]} ({split})", 11)
        if key == "win_rate":
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes, key in zip(panels, small, strict=True):
        _draw(axes, rows, "train", key, lines=False)
        _label(axes, key, 9)
        _log_if_wide(axes)
    _legend(figure, heads[0], title)
    return _save(figure, Path(out))


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
    figure = Figure(figsize=(11, height), layout="constrained")
    FigureCanvasAgg(figure)
    found = {label: table(run, "test", key) for label, run in rows.items()}
    limits = _limits(list(found.values()), key)
    centres = [
        (t.steps, stats.curve_ci(t.values)[0]) for t in found.values() if len(t.steps)
    ]
    for index, label in enumerate(rows):
        axes = figure.add_subplot(ceil(len(rows) / columns), columns, index + 1)
        for steps, centre in centres:
            axes.plot(steps, centre, color="#BBBBBB", lw=0.8)
        _draw(axes, {label: rows[label]}, "test", key, lines=True)
        _label(axes, label, 10)
        axes.set_ylim(*limits)
        if key == "win_rate":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _heading(
        figure, f"{title}: {MEASURES[key].lower()} (test) over environment steps", GREY
    )
    return _save(figure, Path(out))


def _limits(tables: Sequence[Table], key: str) -> tuple[float, float]:
    """Range that all panels share."""
    if key == "win_rate":
        return -0.03, 1.03
    values = np.concatenate([t.values.ravel() for t in tables] or [np.zeros(1)])
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    margin = 0.03 * (high - low or 1.0)
    return low - margin, high + margin


def table(rows: Iterable[Row], split: str, key: str) -> Table:
    """Metric ``key`` of one split, by seed and env steps."""
    kept = [r for r in rows if r["split"] == split and key in r]
    triples = np.array(
        [(r["seed"], r["env_steps"], r[key]) for r in kept], np.float64
    ).reshape(-1, 3)
    seeds, row = np.unique(triples[:, 0].astype(int), return_inverse=True)
    steps, column = np.unique(triples[:, 1].astype(int), return_inverse=True)
    values = np.full((len(seeds), len(steps)), np.nan)
    values[row, column] = triples[:, 2]
    return Table(steps, seeds, values)


def _rows(source: Sequence[Row] | Path | str) -> Sequence[Row]:
    """Rows as given, or those of a run directory or of a metrics file."""
    if not isinstance(source, Path | str):
        return source
    path = Path(source)
    return loggers.read(path / rundir.METRICS if path.is_dir() else path)


def _has(rows: Mapping[str, Sequence[Row]], split: str, key: str) -> bool:
    """Whether any run has a finite value of a metric."""
    found = (r.get(key) for v in rows.values() for r in v if r["split"] == split)
    return any(value is not None and np.isfinite(value) for value in found)


def _metrics(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Names of the metrics for the small panels, in order of appearance."""
    names = {
        k: None for v in rows.values() for r in v if r["split"] == "train" for k in r
    }
    hidden = {n for n in names if n in HIDDEN or loggers.is_label(n)}
    return [n for n in names if n not in hidden and _has(rows, "train", n)]


def _canvas(main: int, small: int) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure with its large panels above and its small ones below."""
    below = ceil(small / PANELS_A_ROW)
    figure = Figure(figsize=(11, 4.6 + 2.1 * below), layout="constrained")
    FigureCanvasAgg(figure)
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
        colour = COLOURS[index % len(COLOURS)]
        dash = DASHES[index // len(COLOURS) % len(DASHES)]
        steps, seeds, values = _thinned(table(run, split, key))
        known = np.isfinite(values).any(0)  # a phase that is rarely due has gaps
        steps, values = steps[known], values[:, known]
        if not len(steps):
            continue
        centre, low, high = stats.curve_ci(values)
        mark = "o" if len(steps) == 1 else None
        if lines and len(seeds) > 1:
            faint = min(0.35, 3.0 / len(seeds) + 0.08)
            axes.plot(steps, values[:MAX_LINES].T, color=colour, lw=0.7, alpha=faint)
        if len(seeds) > 1:
            axes.fill_between(steps, low, high, color=colour, alpha=0.22, lw=0)
        name = f"{label} ({len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
        width = 2 if lines else 1.4
        axes.plot(steps, centre, dash, color=colour, lw=width, marker=mark, label=name)


def _thinned(full: Table) -> Table:
    """Every k-th point and the last one, so that at most ``MAX_POINTS`` remain."""
    stride = max(1, ceil(len(full.steps) / MAX_POINTS))
    keep = np.arange(len(full.steps))[::-1][::stride][::-1]
    return Table(full.steps[keep], full.seeds, full.values[:, keep])


def _label(axes: Axes, name: str, size: int) -> None:
    """Title and quiet axes."""
    axes.set_title(name, fontsize=size, color=INK, loc="left")
    axes.set_xlim(0, max(1.0, axes.dataLim.x1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(6 if size > 10 else 4, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.tick_params(colors=INK, labelsize=size - 2, length=3)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")
    if size > 10:
        axes.set_xlabel("Environment steps", fontsize=size - 1, color=INK)


def _log_if_wide(axes: Axes) -> None:
    """Logarithmic scale for what starts high and ends near zero, as losses do."""
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    values = np.concatenate([v[np.isfinite(v)] for v in drawn] or [np.zeros(1)])
    if values.size and values.min() > 0 and values.max() > 10 * np.median(values):
        axes.set_yscale("log")


def _legend(figure: Figure, axes: Axes, title: str) -> None:
    """One legend for all panels below them, the title above."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        fit = LEGEND_LETTERS // (max(map(len, labels)) + 8)
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=max(1, min(len(handles), fit)),
            frameon=False,
            labelcolor=INK,
        )
    _heading(figure, title, NOTE)


def _heading(figure: Figure, title: str, note: str) -> None:
    """Title, and how to read the picture."""
    figure.suptitle(
        f"{title}\n{note}" if title else note, x=0.01, ha="left", fontsize=10, color=INK
    )


def _save(figure: Figure, out: Path) -> Path:
    """Writes a PNG under another name and moves it into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(out) as scratch:
        figure.savefig(scratch, format="png", dpi=130, facecolor="white")
    return out
