"""Tables: rows of ``metrics.jsonl`` as CSV, and Markdown that a terminal shows well."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.members import Row
from rolemarl_jax.report import lines


def rows_to_csv(run_dir: Path | str, out: Path | str) -> Path:
    """Writes all rows of a run as CSV, as a whole; returns ``out``.

    One line a row, one column a key that any row has; what a row lacks, and NaN, is an
    empty cell.

    Raises:
        ConfigError: there is no run in this directory, or it has no rows yet.
    """
    rundir.load(run_dir)
    path, out = Path(run_dir) / rundir.METRICS, Path(out)
    if not files.is_file(path, "run_dir"):
        raise ConfigError(f"run_dir: '{run_dir}' has no {rundir.METRICS} yet")
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, text(lines.read(path)))
    return out


def text(rows: Sequence[Row]) -> str:
    """The table as CSV, with a head."""
    with io.StringIO() as file:
        writer = csv.DictWriter(file, columns(rows), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v for k, v in row.items() if not _unknown(v)})
        return file.getvalue()


def columns(rows: Iterable[Row]) -> list[str]:
    """All keys: those that say which row it is, then measures, by first appearance."""
    every = list(dict.fromkeys(key for row in rows for key in row))
    return sorted(every, key=lambda key: not lines.is_label(key))


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool) -> str:
    """Markdown whose columns are as wide as their widest cell.

    Args:
        right: whether cells are aligned right.
    """
    cells = [[cell.replace("|", r"\|") for cell in line] for line in (head, *rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    put, end = (str.rjust, ":") if right else (str.ljust, "-")
    text = [
        "| " + " | ".join(put(c, w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 1) + end for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def _unknown(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
