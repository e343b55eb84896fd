"""One metric of one run as a curve: its table, and how it is drawn."""

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from rolemarl_jax.members import Row
from rolemarl_jax.report import canvas, stats

MAX_LINES = 32  # thin lines of single seeds, a run
MAX_POINTS = 300  # points of a curve; more cannot be told apart


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


def smoothed(full: Table, points: int) -> Table:
    """Each seed's mean over its last ``points`` points, the present one included."""
    values = np.full_like(full.values, np.nan)
    for row, curve in enumerate(full.values):
        at = np.flatnonzero(np.isfinite(curve))
        sums = np.cumsum(np.concatenate([[0.0], curve[at]]))
        first = np.maximum(0, np.arange(1, len(at) + 1) - points)
        last = np.arange(1, len(at) + 1)
        values[row, at] = (sums[last] - sums[first]) / (last - first)
    return Table(full.steps, full.seeds, values)


def draw(axes: Axes, full: Table, label: str, index: int, *, lines: bool) -> None:
    """A curve with its band and, if asked for, thin lines of single seeds.

    Args:
        full: all points; a curve without any is left out.
        label: of the legend, to which the number of seeds is added.
        index: decides colour and dashes.
    """
    colour, dash = canvas.look(index)
    steps, seeds, values = thinned(full)
    known = np.isfinite(values).any(0)  # a phase that is rarely due has gaps
    steps, values = steps[known], values[:, known]
    if not len(steps):
        return
    centre, low, high = stats.curve_ci(values)
    mark = "o" if len(steps) == 1 else None
    if lines and len(seeds) > 1:
        faint = min(0.35, 3.0 / len(seeds) + 0.08)
        axes.plot(steps, values[:MAX_LINES].T, color=colour, lw=0.7, alpha=faint)
    if len(seeds) > 1:
        axes.fill_between(steps, low, high, color=colour, alpha=0.22, lw=0)
    count = f"({len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
    how = {"color": colour, "ls": dash, "lw": 2 if lines else 1.4, "marker": mark}
    axes.plot(steps, centre, label=f"{canvas.plain(label)} {count}", **how)


def thinned(full: Table) -> Table:
    """Every k-th point and the last one, so that at most ``MAX_POINTS`` remain."""
    stride = max(1, ceil(len(full.steps) / MAX_POINTS))
    keep = np.arange(len(full.steps))[::-1][::stride][::-1]
    return Table(full.steps[keep], full.seeds, full.values[:, keep])
