"""Which combination of hyper-parameters did best, and how surely."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rolemarl_jax import members
from rolemarl_jax.disk import files, rundir

Record = dict[str, Any]
NOTE = (
    "Combinations by win rate, then by return: mean of each seed's last three greedy "
    "evaluations, interquartile mean over seeds, 95 % bootstrap interval. The first of "
    "many is biased upwards: run it again with other seeds."
)


def ranked(records: Sequence[Record]) -> list[Record]:
    """Records of combinations (`summary.summarise`), best first, with ``rank``."""

    def merit(record: Record) -> list[float]:
        found = [record["last_three"][key]["iqm"] for key in ("win_rate", "return")]
        return [-math.inf if value is None else value for value in found]

    ordered = sorted(records, key=merit, reverse=True)
    return [{"rank": i, **record} for i, record in enumerate(ordered, 1)]


def rows(ranking: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table."""
    names = list(ranking[0]["hypers"])
    head = ["rank", *names, "win rate", "return", "seeds", "frozen"]
    return head, [
        [
            str(record["rank"]),
            *(members.number(record["hypers"][name]) for name in names),
            _interval(record["last_three"]["win_rate"], 3),
            _interval(record["last_three"]["return"], 2),
            str(record["seeds"]),
            str(record["frozen"]),
        ]
        for record in ranking
    ]


def table(ranking: Sequence[Record]) -> str:
    """Markdown whose columns are aligned, so that a terminal shows it well."""
    head, cells = rows(ranking)
    lines = [head, *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [
        "| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def write(run_dir: Path, summary: Mapping[str, Any]) -> Path:
    """Writes ``ranking.md`` as a whole; returns its path."""
    path = run_dir / rundir.RANKING
    title = f"# {summary['algo']} on {summary['env']} {summary['map'] or ''}".rstrip()
    text = "\n\n".join([title, table(summary["ranking"]), NOTE]) + "\n"
    files.write_text(path, text)
    return path


def frozen(found: Sequence[Record]) -> str:
    """Sentence about members that diverged; empty where none did."""
    named = [
        f"seed {one['seed']} {members.text(one['hypers'])}".strip()
        + f" at {one['frozen_at']:,} env steps"
        for one in found[:5]
    ]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"{len(found)} diverged: {'; '.join(named)}{more}" if found else ""


def _interval(found: Mapping[str, float | None], digits: int) -> str:
    """``0.50 [0.40, 0.60]``."""
    if found["iqm"] is None:
        return "none"
    value, low, high = (f"{found[key]:.{digits}f}" for key in ("iqm", "low", "high"))
    return f"{value} [{low}, {high}]"
