"""Which combination of hyper-parameters did best, and how surely."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rolemarl_jax import members
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import headline
from rolemarl_jax.report.summary import Combination, Diverged, Summary
from rolemarl_jax.report.table import aligned

NOTE = (
    f"Combinations by win rate, then by return: {headline.WHEN} of each seed, "
    "interquartile mean over seeds, 95 % bootstrap interval (range of fewer than five "
    "seeds). The first of many is biased upwards: run it again with other seeds."
)


def rows(ranking: Sequence[Combination]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table."""
    names = list(ranking[0].hypers)
    head = ["rank", *names, *headline.NAMES.values(), "seeds", "frozen"]
    return head, [
        [
            str(one.rank),
            *(members.number(one.hypers[name]) for name in names),
            *(
                headline.number(one.last_three[key], form, one.seeds)
                for key, form in headline.FORMS.items()
            ),
            str(one.seeds),
            str(one.frozen),
        ]
        for one in ranking
    ]


def table(ranking: Sequence[Combination]) -> str:
    """Markdown whose columns are aligned, so that a terminal shows it well."""
    return aligned(*rows(ranking), right=True)


def write(run_dir: Path, summary: Summary) -> Path:
    """Writes ``ranking.md`` as a whole; returns its path."""
    path = run_dir / rundir.RANKING
    title = f"# {summary.algo} on {summary.env} {summary.map or ''}".rstrip()
    text = "\n\n".join([title, table(summary.ranking), NOTE]) + "\n"
    files.write_text(path, text)
    return path


def frozen(found: Sequence[Diverged]) -> str:
    """Sentence about members that diverged; empty where none did."""
    named = [
        f"seed {one.seed} {members.text(one.hypers)}".strip()
        + f" at {one.frozen_at:,} env steps"
        for one in found[:5]
    ]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"{len(found)} diverged: {'; '.join(named)}{more}" if found else ""


def remedy(algo: Mapping[str, Any]) -> str:
    """What divergence is, and which keys of an algorithm to change."""
    rates = " or ".join(f"algo.{name}" for name in algo if name.endswith("lr"))
    return (
        f"a loss or a parameter is no finite number; lower {rates}, unless it is what "
        "the world shows (experiments.check_env)"
    )
