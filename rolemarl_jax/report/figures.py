"""Pictures of several runs: curves by world, profiles, improvement, efficiency."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from rolemarl_jax.config import ConfigError, nearest
from rolemarl_jax.report import canvas, comparison, curve, headline, scores, stats
from rolemarl_jax.report.gather import Group
from rolemarl_jax.report.scores import Asked

COLUMNS = 3  # panels side by side
THRESHOLDS = 201
POOLED = "resampled within each world"


def panels(
    groups: Sequence[Group],
    metrics: Sequence[str | None],
    split: str | None,
    smooth: int,
    out: Path,
    title: str,
) -> Path:
    """Learning curves, a panel for each world and metric; labels keep their colours.

    Args:
        groups: what ``gather`` found.
        metrics: columns of ``metrics.jsonl``; None is the headline measure.
        split: ``test`` or ``train``; None is where a column is.
        smooth: points of each seed over which the mean is taken.
        out: the picture.
        title: above all panels.

    Raises:
        ConfigError: an unknown metric, split or format, or nothing to be drawn.
    """
    wanted = [Asked(metric, split) for metric in metrics]
    for asked in wanted:
        scores.require(asked, groups)
    worlds = scores.by_world(groups)
    drawn = [
        (world, part, column)
        for asked in wanted
        for world, part in worlds.items()
        if (column := scores.column(asked, part)) is not None
    ]
    figure, every = _grid(len(drawn))
    colours = {label: i for i, label in enumerate(_labels(groups))}
    for axes, (world, part, column) in zip(every, drawn, strict=True):
        for group in part:
            table = curve.table(group.rows, column.split, column.key)
            smoothed = curve.smoothed(table, smooth)
            index = colours[group.label]
            curve.draw(axes, smoothed, group.label, index, lines=True)
        where = f"{world}: " if len(worlds) > 1 else ""
        canvas.label(axes, f"{where}{column.title}", 11)
        if column.key == "win_rate":
            canvas.percent(axes)
    canvas.legend(figure, every)
    only = f"{title or next(iter(worlds))}" if len(worlds) == 1 else title
    canvas.heading(figure, only, _note(groups, smooth))
    return canvas.save(figure, out)


def profile(groups: Sequence[Group], asked: Asked, out: Path, title: str) -> Path:
    """Performance profiles: the share of runs that score more than each threshold."""
    found = scores.compared(asked, groups)
    every = np.concatenate([part for own in found.scores.values() for part in own])
    is_rate = found.title.startswith("Win rate")
    low, high = (0.0, 1.0) if is_rate else (every.min(), every.max())
    if low == high:  # the step of a single number, with room on either side
        margin = 0.05 * max(1.0, abs(low))
        low, high = low - margin, high + margin
    at = np.linspace(low, high, THRESHOLDS)
    figure, (axes,) = _grid(1)
    for index, (label, own) in enumerate(found.scores.items()):
        colour, dash = canvas.look(index)
        share, low, high = comparison.performance_profile(own, at)
        how = {"color": colour, "ls": dash, "lw": 2, "label": canvas.plain(label)}
        axes.step(at, share, where="post", **how)
        if np.isfinite(low).all():
            axes.fill_between(
                at, low, high, step="post", color=colour, alpha=0.22, lw=0
            )
    canvas.quiet(axes, "Performance profile", 11)
    canvas.percent(axes)
    axes.set_xlabel(f"{found.title}, {headline.WHEN}: threshold", color=canvas.INK)
    axes.set_ylabel("Share of runs above it", color=canvas.INK)
    if is_rate:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    canvas.legend(figure, [axes])
    canvas.heading(figure, _title(title, found), _interval_note(found))
    return canvas.save(figure, out)


def improvement(
    groups: Sequence[Group], asked: Asked, baseline: str | None, out: Path, title: str
) -> Path:
    """How probably a run of each algorithm scores more than one of the baseline.

    Args:
        baseline: a label; None is the first one.

    Raises:
        ConfigError: there is one algorithm only, or no such label.
    """
    found = scores.compared(asked, groups)
    labels = list(found.scores)
    if len(labels) < 2:
        raise ConfigError(f"runs: got {labels} alone; allowed: two algorithms or more")
    base = labels[0] if baseline is None else str(baseline)
    if base not in labels:
        raise ConfigError(f"baseline: got '{base}'; {nearest(base, labels)}")
    others = [label for label in labels if label != base]
    figure = canvas.blank(8, 1.6 + 0.42 * len(others))
    axes = figure.add_subplot()
    for row, label in enumerate(others):
        made = comparison.improvement(found.scores[label], found.scores[base])
        colour, _ = canvas.look(labels.index(label))
        if np.isfinite(made.low):
            axes.barh(
                row, made.high - made.low, left=made.low, color=colour, alpha=0.35
            )
        axes.plot([made.value] * 2, [row - 0.4, row + 0.4], color=colour, lw=3)
    canvas.quiet(axes, f"Probability of improvement on {base}", 11)
    axes.axvline(0.5, color="#777777", lw=1, ls="--")
    axes.set_yticks(range(len(others)), [canvas.plain(label) for label in others])
    axes.set_ylim(len(others) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    of = f"{found.title}, {headline.WHEN}"
    axes.set_xlabel(f"P(run > run of {canvas.plain(base)}): {of}", color=canvas.INK)
    canvas.heading(figure, _title(title, found), _interval_note(found))
    return canvas.save(figure, out)


def efficiency(groups: Sequence[Group], asked: Asked, out: Path, title: str) -> Path:
    """Sample efficiency: IQM over the runs of all worlds, by env steps."""
    found = scores.compared(asked, groups)
    figure, (axes,) = _grid(1)
    for index, (label, tables) in enumerate(found.tables.items()):
        colour, dash = canvas.look(index)
        steps = np.unique(np.concatenate([table.steps for table in tables]))
        # Worlds are evaluated at steps of their own; between them curves are lines.
        lines = [_at(steps, table) for table in tables]
        value, low, high = comparison.efficiency(lines)
        how = {"color": colour, "ls": dash, "lw": 2, "label": canvas.plain(label)}
        axes.plot(steps, value, **how)
        if np.isfinite(low).any():
            axes.fill_between(steps, low, high, color=colour, alpha=0.22, lw=0)
    canvas.label(axes, f"Sample efficiency: {found.title}", 11)
    if found.title.startswith("Win rate"):
        canvas.percent(axes)
    canvas.legend(figure, [axes])
    canvas.heading(figure, _title(title, found), f"IQM, {_interval_note(found)}")
    return canvas.save(figure, out)


def _at(steps: np.ndarray, table: curve.Table) -> np.ndarray:
    """Curves of a world `[R, P]` at other steps, NaN outside their own."""
    return np.stack([_line(steps, table.steps, values) for values in table.values])


def _line(steps: np.ndarray, own: np.ndarray, values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(steps), np.nan)
    return np.interp(steps, own[known], values[known], left=np.nan, right=np.nan)


def _grid(count: int) -> tuple[canvas.Figure, list[canvas.Axes]]:
    """A figure with so many panels."""
    columns = min(COLUMNS, count)
    rows = ceil(count / columns)
    width = 8 if columns == 1 else 4.6 * columns
    figure = canvas.blank(width, 1.0 + (4.0 if columns == 1 else 3.2) * rows)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def _labels(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(group.label for group in groups))


def _note(groups: Sequence[Group], smooth: int) -> str:
    """How to read curves."""
    how = canvas.note([len({row["seed"] for row in group.rows}) for group in groups])
    mean = f"mean of the last {smooth} points of each seed" if smooth > 1 else ""
    return ", ".join(filter(None, [how, mean]))


def _title(title: str, found: scores.Compared) -> str:
    return title or ", ".join(found.worlds)


def _interval_note(found: scores.Compared) -> str:
    """What bands are, or why there are none."""
    sizes = [len(part) for own in found.scores.values() for part in own]
    seeds = f"{min(sizes)} to {max(sizes)} seeds a world"
    seeds = f"{sizes[0]} seeds a world" if min(sizes) == max(sizes) else seeds
    if min(sizes) >= stats.ENOUGH:
        return f"95 % bootstrap interval, {POOLED}; {seeds}"
    return f"{seeds}: no interval of fewer than {stats.ENOUGH}"
