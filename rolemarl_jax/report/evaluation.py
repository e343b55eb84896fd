"""``evaluation.json``: what greedy episodes with a stored policy found."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax import members
from rolemarl_jax.config import RunConfig
from rolemarl_jax.disk import files
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


class Asked(NamedTuple):
    """What was to be played.

    Attributes:
        seed: of the episodes.
        policy: ``greedy`` or ``sampled``.
        world: its name.
    """

    seed: int
    policy: str
    world: str


def record(
    parts: Sequence[tuple[RunConfig, Outcomes]],
    asked: Asked,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Statistics of every member's episodes, and over members.

    Args:
        parts: the configuration of a run, or of each of its chunks, and its episodes.
        asked: what was to be played.
        more: what else is to be told of them.

    Returns:
        Plain containers: ``step`` (of the part that got least far), ``episodes``,
        ``seed``, ``policy``, ``world``, ``note``, ``overall``, ``combinations`` where
        hyper-parameters are swept, ``seeds`` (one record a member, win rate with its
        Wilson interval) and ``more``.
    """
    games = [
        Game(member, *(column[i] for column in (found.ret, found.won, found.length)))
        for cfg, found in parts
        for i, member in enumerate(members.members(cfg))
    ]
    rows = [_row(game) for game in games]
    return {
        "step": min(found.step for _, found in parts),
        "episodes": len(games[0].won),
        **asked._asdict(),
        "note": " ".join(found.note for _, found in parts if found.note),
        **_overall(rows, games),
        "seeds": rows,
        **(more or {}),
    }


class Game(NamedTuple):
    """A member and its episodes, `[episodes]` each."""

    member: members.Member
    ret: Any
    won: Any
    length: Any


def _row(game: Game) -> dict[str, Any]:
    """A member's own numbers."""
    return {
        "seed": game.member.seed,
        **members.columns(game.member.hypers),
        "win_rate": float(game.won.mean()),
        "win_rate_interval": _wilson(int(game.won.sum()), len(game.won)),
        "return": float(game.ret.mean()),
        "episode_length": float(game.length.mean()),
    }


def write(path: Path, values: Mapping[str, Any]) -> Path:
    """Writes a record as a whole; returns its path.

    Args:
        path: usually ``evaluation.json`` in the run directory.
    """
    files.write_text(path, json.dumps(values, indent=2))
    return path


def text(values: Mapping[str, Any]) -> str:
    """A record for people, one line a seed."""
    head = (
        f"checkpoint {values['step']}, {values['episodes']} {values['policy']} "
        f"episodes a seed in {values['world']}; seed={values['seed']} plays them again",
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


def _overall(rows: Sequence[dict[str, Any]], games: Sequence[Game]) -> dict[str, Any]:
    """Interquartile means over all and by combination.

    Their intervals are those of a bootstrap over seeds and episodes.

    Returns:
        ``overall``, and ``combinations`` where hyper-parameters are swept.
    """

    def means(part: Sequence[int]) -> dict[str, list[float]]:
        chosen = [games[i] for i in part]
        won = stats.nested_ci([game.won for game in chosen], rates=True)
        ret = stats.nested_ci([game.ret for game in chosen])
        length = stats.nested_ci([game.length for game in chosen])
        found = (list(won), list(ret), list(length))
        return dict(zip(MEASURES, found, strict=True))

    numbered = [{**row, "at": i} for i, row in enumerate(rows)]
    swept = [
        {"hypers": hypers, **means([row["at"] for row in part])}
        for hypers, part in members.grouped(numbered)
        if hypers
    ]
    whole = {"overall": means(range(len(games)))}
    return {**whole, **({"combinations": swept} if swept else {})}


def _wilson(wins: int, episodes: int) -> list[float]:
    """Ends of the interval of a win rate."""
    found = stats.wilson(wins, episodes)
    return [found.low, found.high]
