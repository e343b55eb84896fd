"""A table of any runs: one number for each algorithm and world, with its interval."""

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

from rolemarl_jax.report import curve, headline, scores, stats
from rolemarl_jax.report.columns import Column
from rolemarl_jax.report.gather import Group
from rolemarl_jax.report.scores import Asked
from rolemarl_jax.report.stats import Interval
from rolemarl_jax.report.table import aligned

SPECIAL = {
    **{sign: rf"\{sign}" for sign in "_%&#${}"},
    **{"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"},
}


class Cell(NamedTuple):
    """One algorithm in one world.

    Attributes:
        label: of the algorithm.
        world: its name.
        column: what was measured.
        seeds: with a number.
        found: interquartile mean over seeds of each one's last three, with its interval
            or, of fewer than five seeds, their range.
    """

    label: str
    world: str
    column: Column
    seeds: int
    found: Interval

    @property
    def text(self) -> str:
        """``0.87 [0.85, 0.90]``."""
        form = headline.FORMS.get(self.column.key, ".4g")
        return headline.number(self.found, form, self.seeds)


def cells(groups: Sequence[Group], asked: Asked) -> list[Cell]:
    """All that is to be shown, world by world.

    Raises:
        ConfigError: an unknown metric or split, or no evaluation yet.
    """
    scores.require(asked, groups)
    return [
        _cell(group, column)
        for part in scores.by_world(groups).values()
        if (column := scores.column(asked, part)) is not None
        for group in part
    ]


def _cell(group: Group, column: Column) -> Cell:
    known = scores.last(curve.table(group.rows, column.split, column.key))
    found = stats.over_seeds(known)
    return Cell(group.label, group.world, column, len(known), found)


def markdown(found: Sequence[Cell]) -> str:
    """A row for each algorithm, a column for each world, and what the numbers are."""
    return f"{aligned(*_grid(found), right=False)}\n\n{note(found)}\n"


def latex(found: Sequence[Cell]) -> str:
    """The same as a ``tabular`` for booktabs; the best of a world is bold."""
    head, rows = _grid(found, bold=r"\textbf{%s}")
    body = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            f"% {note(found)}",
            rf"\begin{{tabular}}{{l{'c' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(map(_escaped, head)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def comma_separated(found: Sequence[Cell]) -> str:
    """One line for each algorithm and world."""
    with io.StringIO() as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["label", "world", "metric", "split", "seeds", "iqm", "low", "high"]
        writer.writerow([*head, "low_high"])
        for one in found:
            what = [one.label, one.world, one.column.key, one.column.split, one.seeds]
            writer.writerow([*what, *one.found, stats.band(one.seeds)])
        return file.getvalue()


def note(found: Sequence[Cell]) -> str:
    """What the numbers are."""
    few = [one.seeds < stats.ENOUGH for one in found]
    brackets = "95 % bootstrap interval"
    if any(few):
        brackets += ", of fewer than five seeds their range"
    if all(few):
        brackets = "range of the seeds"
    trained = all(one.column.split == "train" for one in found)
    when = headline.WHEN_TRAINING if trained else headline.WHEN
    mean = f"Interquartile mean over seeds of each one's {when}"
    return f"{mean}; in brackets: {brackets}."


def _grid(
    found: Sequence[Cell], bold: str | None = None
) -> tuple[list[str], list[list[str]]]:
    """Head and rows; an algorithm that was not in a world has a dash there.

    Args:
        bold: how the best of a world is written, where there are several.
    """
    worlds = dict.fromkeys((one.world, one.column.title) for one in found)
    parts = [[one for one in found if one.world == world] for world, _ in worlds]
    shown = [_shown(part, bold) for part in parts]
    rows = []
    for label in dict.fromkeys(one.label for one in found):
        seeds = [one.seeds for one in found if one.label == label]
        least, most = min(seeds), max(seeds)
        count = str(least) if least == most else f"{least} to {most}"
        name = _escaped(label) if bold else label
        rows.append([name, *(column.get(label, "-") for column in shown), count])
    head = ["algorithm", *(f"{world}: {title}" for world, title in worlds), "seeds"]
    return head, rows


def _shown(part: Sequence[Cell], bold: str | None) -> dict[str, str]:
    """Numbers of one world by algorithm."""
    known = [one.found.value for one in part if math.isfinite(one.found.value)]
    best = max(known, default=None) if bold and len(part) > 1 else None
    return {
        one.label: bold % one.text if bold and one.found.value == best else one.text
        for one in part
    }


def _escaped(text: str) -> str:
    """Text with the signs that LaTeX takes for its own."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)
