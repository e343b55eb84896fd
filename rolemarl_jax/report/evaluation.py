"""``evaluation.json``: what greedy episodes with a stored policy found."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax import members
from rolemarl_jax.config import RunConfig
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import stats

MEASURES = ("win_rate", "return", "episode_length")


class Outcomes(NamedTuple):
    """Greedy episodes of the M members of a run with one checkpoint.

    Attributes:
        step: of the checkpoint, env steps a seed.
        note: empty, or a sentence about newer checkpoints that were unreadable.
        ret: sum of an episode's rewards, `[M, episodes]`.
        won: whether it was won, 0 or 1, `[M, episodes]`.
        length: its env steps, `[M, episodes]`.
    """

    step: int
    note: str
    ret: Any
    won: Any
    length: Any


def record(
    cfg: RunConfig, found: Outcomes, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Statistics of every member's episodes, and over members.

    Args:
        cfg: of the run.
        found: its episodes.
        more: what else is to be told of them.

    Returns:
        Plain containers: ``step``, ``episodes``, ``note``, ``overall``,
        ``combinations`` where hyper-parameters are swept, ``seeds`` (one record a
        member, win rate with its Wilson interval) and ``more``.
    """
    episodes = found.won.shape[1]
    rows = [
        {
            "seed": member.seed,
            **members.columns(member.hypers),
            "win_rate": float(found.won[i].mean()),
            "win_rate_interval": _wilson(int(found.won[i].sum()), episodes),
            "return": float(found.ret[i].mean()),
            "episode_length": float(found.length[i].mean()),
        }
        for i, member in enumerate(members.members(cfg))
    ]
    return {
        "step": found.step,
        "episodes": episodes,
        "note": found.note,
        **_overall(rows),
        "seeds": rows,
        **(more or {}),
    }


def together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One record of all chunks; the step is that of the chunk that got least far."""
    rows = [row for part in parts for row in part["seeds"]]
    return {
        **parts[0],
        "step": min(part["step"] for part in parts),
        "note": " ".join(part["note"] for part in parts if part["note"]),
        **_overall(rows),
        "seeds": rows,
    }


def write(run_dir: Path, values: Mapping[str, Any]) -> Path:
    """Writes ``evaluation.json`` as a whole; returns its path."""
    path = run_dir / rundir.EVALUATION
    files.write_text(path, json.dumps(values, indent=2))
    return path


def text(values: Mapping[str, Any]) -> str:
    """A record for people, one line a seed."""
    head = (
        f"checkpoint {values['step']}, {values['episodes']} greedy episodes a seed",
        "  seed  win rate   95 % interval   return  length",
    )
    combinations = {
        f"win_rate with {members.text(one['hypers'])}": one["win_rate"]
        for one in values.get("combinations", [])
    }
    means = {**combinations, **values["overall"]}
    lines = (
        *filter(None, [values["note"]]),
        *head,
        *map(_line, values["seeds"]),
        *(
            f"{key}: interquartile mean {value:.3f}, 95 % [{low:.3f}, {high:.3f}]"
            for key, (value, low, high) in means.items()
        ),
        *(f"replay {path}" for path in values.get("replays", [])),
    )
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    """A member's own numbers, aligned."""
    low, high = row["win_rate_interval"]
    return (
        f"{row['seed']:>6} {row['win_rate']:>9.3f} {low:>7.3f} to {high:.3f}"
        f" {row['return']:>8.3f} {row['episode_length']:>7.1f}"
        f"  {members.text(members.of_row(row))}"
    ).rstrip()


def _overall(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Interquartile means with their bootstrap intervals, over all and by combination.

    Returns:
        ``overall``, and ``combinations`` where hyper-parameters are swept.
    """

    def means(part: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
        return {key: list(stats.iqm_ci([row[key] for row in part])) for key in MEASURES}

    groups = members.grouped(rows)
    swept = [{"hypers": hypers, **means(part)} for hypers, part in groups if hypers]
    return {"overall": means(rows), **({"combinations": swept} if swept else {})}


def _wilson(wins: int, episodes: int) -> list[float]:
    """Ends of the interval of a win rate."""
    found = stats.wilson(wins, episodes)
    return [found.low, found.high]
