"""A line of ``metrics.jsonl``: what it may hold, and which columns measure nothing."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from rolemarl_jax import members
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
