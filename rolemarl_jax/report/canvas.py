"""What all pictures share: colours, quiet axes, one legend, and the file's format."""

import textwrap
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files
from rolemarl_jax.report import stats

# Okabe and Ito's palette, distinguishable with any kind of colour vision.
# Its yellow is left out (too faint on white); further curves are dashed.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = ("-", "--", ":", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (9, 3)))
INK, GRID, FAINT = "#333333", "#E6E6E6", "#BBBBBB"
FORMATS = (".png", ".pdf", ".svg")
LEGEND_LETTERS = 140  # that fit side by side on eleven inches
LEGEND_ROW = 0.22  # inches
LEGEND_ROWS = 2  # that a figure has room for as it is


def require_format(out: Path | str) -> str:
    """Format that the name of a picture asks for, as ``.png``.

    Raises:
        ConfigError: there is no such format.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(
            f"out: got '{out}'; allowed: a name that ends with {', '.join(FORMATS)}"
        )
    return suffix


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, bound to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def look(index: int) -> tuple[str, Any]:
    """Colour and line style of a curve by its number; the 43rd looks like the first."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def plain(text: str) -> str:
    """Text that is drawn as it stands: no formula, and no name that a legend hides."""
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def note(seeds: Sequence[int], *, lines: bool = True) -> str:
    """How to read curves of so many seeds each."""
    enough = [count >= stats.ENOUGH for count in seeds if count > 1]
    parts = ["IQM over seeds"] if enough else []
    if enough and all(enough):
        parts.append("band: 95 % bootstrap interval")
    elif any(enough):
        parts.append("band: 95 % bootstrap interval, below five seeds their range")
    elif enough:
        parts.append("band: range of the seeds")
    return ", ".join(
        [*parts, "thin lines: single seeds"] if enough and lines else parts
    )


def percent(axes: Axes) -> None:
    """The vertical axis of a rate."""
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def label(axes: Axes, name: str, size: int) -> None:
    """Title, and an axis of environment steps."""
    quiet(axes, name, size)
    axes.set_xlim(0, max(1.0, axes.dataLim.x1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(6 if size > 10 else 4, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if size > 10:
        axes.set_xlabel("Environment steps", fontsize=size - 1, color=INK)


def quiet(axes: Axes, name: str, size: int) -> None:
    """Title, faint grid, no box."""
    text = textwrap.fill(plain(name), _letters(axes, size))
    axes.set_title(text, fontsize=size, color=INK, loc="left")
    axes.tick_params(colors=INK, labelsize=size - 2, length=3)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def _letters(axes: Axes, size: int) -> int:
    """How many letters fit above a panel."""
    figure, place = axes.get_figure(root=True), axes.get_subplotspec()
    share = len(place.colspan) / place.get_gridspec().ncols if place else 1.0
    width = figure.get_figwidth() if figure is not None else 8.0
    return int(100 * width * share / size)


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend below all panels, each curve once; the figure grows with it."""
    found = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found = {**found, **dict(zip(labels, handles, strict=True))}
    if not found:
        return
    letters = int(LEGEND_LETTERS * figure.get_figwidth() / 11)
    names = [textwrap.fill(name, letters - 8) for name in found]
    columns = letters // (max(map(len, names)) + 8)
    columns = max(1, min(len(names), columns))
    rows = ceil(len(names) / columns) * max(name.count("\n") + 1 for name in names)
    grown = LEGEND_ROW * max(0, rows - LEGEND_ROWS)
    figure.set_figheight(figure.get_figheight() + grown)
    figure.legend(
        [*found.values()],
        names,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        labelcolor=INK,
    )


def heading(figure: Figure, title: str, note: str) -> None:
    """Title, and how to read the picture."""
    text = "\n".join(filter(None, [plain(title), note]))
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, color=INK)


def save(figure: Figure, out: Path) -> Path:
    """Writes a picture as a whole, in the format that its name asks for.

    Raises:
        ConfigError: there is no such format.
    """
    form = require_format(out).removeprefix(".")
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(out) as scratch:
        figure.savefig(scratch, format=form, dpi=130, facecolor="white")
    return out
