"""``docs/results.md``: one section a study, with tables made from its runs."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from experiments.studies.study import Piece, Run
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import headline, lines, plotting, provenance, stats, summary

HEAD = """# Results

Written by `python -m experiments.reproduce study=...`, which owns the text between the
markers of a study. Numbers are interquartile means over seeds of each one's mean of the
last three evaluations, with 95 % stratified bootstrap intervals, or the range of fewer
than five seeds.
"""
COLUMNS = ("algo", "seeds", "env steps a seed", "commit", "device")
NOTHING = "-"  # a cell without a number
OVERLAID = 4  # runs that can be told apart in one panel


def write(piece: Piece) -> Path:
    """Puts a study's section into ``results.md``, and its pictures beside it.

    Raises:
        ConfigError: the file has only one of the study's two markers.
    """
    piece.docs.mkdir(parents=True, exist_ok=True)
    path = piece.docs / "results.md"
    text = path.read_text(encoding="utf8") if path.is_file() else HEAD
    text = replaced(text, piece.name, section(piece))
    files.write_text(path, text)
    return path


def replaced(text: str, name: str, body: str) -> str:
    """The text with a study's section replaced, or added at the end.

    Raises:
        ConfigError: only one of the two markers is there.
    """
    begin, end = f"<!-- study {name} -->", f"<!-- end of study {name} -->"
    marked = f"{begin}\n{body.strip()}\n{end}"
    if begin not in text and end not in text:
        return f"{text.rstrip()}\n\n{marked}\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ConfigError(f"docs: results.md needs both '{begin}' and '{end}', or none")
    return before + marked + after


def section(piece: Piece) -> str:
    """Heading, and tables and a picture for each world."""
    study = piece.study
    parts = [f"## {study.title}", study.note.strip()]
    for world, group in groupby(piece.planned, key=lambda run: run.world):
        rows = list(group)
        parts += [f"### {world}", table(study.measure, rows)]
        more = besides(study.also, rows)
        parts += [more] if more else []
        path = piece.docs / "results" / f"{piece.name}-{world}.png"
        picture = _draw(path, study.measure, world, rows)
        if picture is not None:
            parts.append(f"![{world}]({picture.relative_to(piece.docs).as_posix()})")
    return "\n\n".join(parts)


def table(measure: str, runs: Sequence[Run]) -> str:
    """One row a run, from its ``summary.json``."""
    head = (COLUMNS[0], summary.MEASURES[measure].lower(), *COLUMNS[1:])
    printed = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join(printed + [_row(measure, run) for run in runs])


def _row(measure: str, run: Run) -> str:
    """A table's row; dashes for a run that has not finished."""
    try:
        found, why = summary.read(run.results), "not finished"
    except ConfigError:
        found, why = None, "damaged"
    if found is None:
        return f"| {run.algo} | {why} |{' |' * (len(COLUMNS) - 1)}"
    cells = (
        run.algo,
        headline.number(
            found.last_three[measure], headline.FORMS[measure], found.seeds
        ),
        found.seeds,
        f"{found.env_steps:,}",
        provenance.short(found.commit),
        found.device,
    )
    return f"| {' | '.join(map(str, cells))} |"


def besides(columns: Sequence[str], runs: Sequence[Run]) -> str | None:
    """One row a run: columns of its evaluations, each seed's mean of the last three.

    Runs that have none of them are left out; none if no run has any.
    """
    head = ("algo", *(column.removeprefix("role/") for column in columns))
    printed = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for run in runs:
        cells = [_over_seeds(run, column) for column in columns]
        if any(cell != NOTHING for cell in cells):
            printed.append(f"| {' | '.join((run.algo, *cells))} |")
    return "\n".join(printed) if len(printed) > 2 else None


def _over_seeds(run: Run, column: str) -> str:
    """A column's number over seeds; a dash where no evaluation has it."""
    path, known = run.results / rundir.METRICS, defaultdict(list)
    for row in lines.read(path) if path.is_file() else []:
        if row["split"] == "test" and np.isfinite(row.get(column, np.nan)):
            known[row["seed"]].append(row[column])
    scores = [headline.of_seed(values) for values in known.values()]
    if not scores:
        return NOTHING
    return headline.number(stats.over_seeds(scores), ".2f", len(scores))


def _draw(path: Path, measure: str, world: str, runs: Sequence[Run]) -> Path | None:
    """Curves of all runs that have measured anything; of many, a panel each."""
    measured = [run for run in runs if (run.results / rundir.METRICS).is_file()]
    if not measured:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = {run.algo: run.results for run in measured}
    if len(sources) > OVERLAID:
        return plotting.multiples(sources, path, measure, world)
    # Where return is what counts, winning may mean nothing.
    measures = [measure] if measure == "return" else list(summary.MEASURES)
    return plotting.curves(sources, path, world, measures=measures)
