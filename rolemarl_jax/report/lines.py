"""Lines of ``metrics.jsonl``: what they may hold, how they are written and read."""

import json
import math
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files
from rolemarl_jax.members import Row

LABELS = ("seed", "env_steps", "split", "stage", "frozen_at")  # what is not measured


def is_label(column: str) -> bool:
    """Whether a column says which row it is, and measures nothing."""
    return column in LABELS or column.startswith(members.COLUMN)


def plain(row: Row) -> Row:
    """A row of what JSON knows."""
    return {key: _scalar(value) for key, value in row.items()}


def _scalar(value: Any) -> Any:
    """A number as JSON has it: NumPy and JAX scalars unwrapped, NaN as None."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def parsed(lines: Iterable[str]) -> Iterator[tuple[str, Row | None]]:
    """Lines with their rows; None where a line was cut short or is no row."""
    for line in lines:
        try:
            row = json.loads(line) if line.endswith("\n") else None
        except (ValueError, RecursionError):
            row = None
        yield line, row if _is_row(row) else None


def _is_row(row: Any) -> bool:
    """Whether a JSON value has what every row has, and text in labels alone."""
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(key), int) for key in ("seed", "env_steps"))
        and isinstance(row.get("split"), str)
        and all(
            x is None or isinstance(x, (int, float, str)[: 3 if is_label(key) else 2])
            for key, x in row.items()
        )
    )


def text(rows: Iterable[Row]) -> str:
    """Rows as JSON Lines; what is not finite becomes null."""
    return "".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows)


def read(path: Path | str) -> list[Row]:
    """Rows of a JSON Lines file; null becomes NaN.

    A last line that was cut short is left out, and so are damaged ones, with a warning
    that says how many.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with Path(path).open(encoding="utf8", errors="surrogateescape") as file:
            found = list(parsed(file))
    except OSError as error:
        raise ConfigError(f"run_dir: '{path}' cannot be read: {error}") from None
    rows = [row for _, row in found if row is not None]
    damaged = sum(row is None and line.endswith("\n") for line, row in found)
    if damaged:
        what = f"{path}: {damaged} of {len(found)} lines are damaged and left out"
        warnings.warn(what, stacklevel=2)
    return [
        {_shown(k): math.nan if v is None else v for k, v in row.items()}
        for row in rows
    ]


def _shown(name: str) -> str:
    """A name that can be shown: a question mark for what no text has."""
    return name.encode("utf8", "replace").decode("utf8")


def truncate_after(
    path: Path, env_steps: int, seeds: Collection[int] | None = None
) -> int:
    """Drops rows newer than a checkpoint, and lines cut short, from a JSONL file.

    The file is replaced as a whole, so a crash leaves the old one or the new one.

    Args:
        path: a file that need not exist.
        env_steps: rows with more steps are dropped.
        seeds: only rows of these seeds are dropped; ``None`` means all.

    Returns:
        How many lines were dropped.
    """
    if not path.exists():
        return 0
    dropped = 0
    with (
        path.open(encoding="utf8", errors="surrogateescape") as old,
        files.replacing(path) as scratch,
        scratch.open("w", encoding="utf8", errors="surrogateescape") as new,
    ):
        for line, row in parsed(old):
            ours = row is None or seeds is None or row["seed"] in seeds
            if ours and (row is None or row["env_steps"] > env_steps):
                dropped += 1
            else:
                new.write(line)
    return dropped
