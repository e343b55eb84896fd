"""``evaluation.json``: what greedy episodes with a stored policy found."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rolemarl_jax import members
from rolemarl_jax.disk import files
from rolemarl_jax.report import headline, stats
from rolemarl_jax.run_config import RunConfig

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
        env: keys of the world that differ from the run's, dotted, with their values.
    """

    seed: int
    policy: str
    world: str
    env: Mapping[str, Any]


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
        ``seed``, ``policy``, ``world``, ``env``, ``note``, ``overall``,
        ``combinations`` where hyper-parameters are swept, ``seeds`` (one record a
        member, win rate with its Wilson interval) and ``more``. ``overall`` has three
        numbers a measure, mean, low and high, and says in ``interval`` what the last
        two are.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(values, indent=2))
    return path


def text(values: Mapping[str, Any]) -> str:
    """A record for people, one line a seed."""
    changed = " ".join(f"{key}={value}" for key, value in values["env"].items())
    world = values["world"] + (f" with {changed}" if changed else "")
    head = (
        f"checkpoint {values['step']}, {values['episodes']} {values['policy']} "
        f"episodes a seed in {world}; seed={values['seed']} plays them again",
        "  seed  win rate   95 % interval   return  length",
    )
    several = [
        (f" with {members.text(one['hypers'])}", one)
        for one in values.get("combinations", [])
    ]
    parts = [*several, ("", values["overall"])]
    won = any(row["win_rate"] > 0 for row in values["seeds"])
    lines = (
        *filter(None, [values["note"]]),
        *head,
        *map(_line, values["seeds"]),
        *(line for name, one in parts for line in _means(name, one, won)),
        *filter(None, [values.get("headline")]),
        *(f"replay {path}" for path in values.get("replays", [])),
    )
    return "\n".join(lines)


def _means(name: str, found: Mapping[str, Any], won: bool) -> Iterator[str]:
    """A line for each measure that counts here: the win rate, if anything was won."""
    keys = ("win_rate", "return") if won else ("return",)
    for key in (*keys, "episode_length") if not name else keys[:1]:
        called = headline.NAMES.get(key, key.replace("_", " "))
        number = stats.text(stats.Interval(*found[key]), headline.FORMS.get(key, ".1f"))
        yield f"{called}{name}: {number} (these episodes; {found['interval']})"


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

    Their intervals are those of a bootstrap over seeds and episodes; two to four seeds
    have their range.

    Returns:
        ``overall``, and ``combinations`` where hyper-parameters are swept.
    """

    def means(part: Sequence[int]) -> dict[str, Any]:
        chosen = [games[i] for i in part]
        won = _interval([game.won for game in chosen], rates=True)
        ret = _interval([game.ret for game in chosen])
        length = _interval([game.length for game in chosen])
        found = (list(won), list(ret), list(length))
        band = "95 % interval over its episodes" if len(chosen) == 1 else ""
        return {
            **dict(zip(MEASURES, found, strict=True)),
            "interval": band or f"interquartile mean, {stats.band(len(chosen))}",
        }

    numbered = [{**row, "at": i} for i, row in enumerate(rows)]
    swept = [
        {"hypers": hypers, **means([row["at"] for row in part])}
        for hypers, part in members.grouped(numbered)
        if hypers
    ]
    whole = {"overall": means(range(len(games)))}
    return {**whole, **({"combinations": swept} if swept else {})}


def _interval(scores: Sequence[Any], *, rates: bool = False) -> stats.Interval:
    """Of one seed over its episodes, of few seeds their range, of many over both."""
    if 1 < len(scores) < stats.ENOUGH:
        return stats.over_seeds([np.mean(own) for own in scores])
    return stats.nested_ci(scores, rates=rates)


def _wilson(wins: int, episodes: int) -> list[float]:
    """Ends of the interval of a win rate."""
    found = stats.wilson(wins, episodes)
    return [found.low, found.high]
