"""All algorithms in all worlds, from the summaries of their runs alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax.config import ConfigError
from rolemarl_jax.report import headline, stats, summary
from rolemarl_jax.report.stats import Interval
from rolemarl_jax.report.table import aligned

TITLE = "# Leaderboard"
SHORT = 10  # signs of a commit


class Entry(NamedTuple):
    """A finished run.

    Attributes:
        algo: its name, and its preset where that is not ``default``.
        world: ``smax/3m``.
        measure: ``win_rate`` or ``return``.
        found: interquartile mean over seeds of each one's last three evaluations, with
            its interval or, of fewer than five seeds, their range.
        seeds: that have been evaluated.
        env_steps: a seed.
        commit: of the code.
        device: kind and number.
    """

    algo: str
    world: str
    measure: str
    found: Interval
    seeds: int
    env_steps: int
    commit: str
    device: str

    @property
    def text(self) -> str:
        """``0.87 [0.85, 0.90]``."""
        return headline.number(self.found, headline.FORMS[self.measure], self.seeds)


class Board(NamedTuple):
    """What was found.

    Attributes:
        entries: of finished runs.
        broken: what is wrong with the others, by directory.
    """

    entries: list[Entry]
    broken: dict[str, str]


def read(folders: Sequence[str]) -> Board:
    """Finished runs among directories; one of swept hyper-parameters is none.

    Raises:
        ConfigError: none of them is.
    """
    board = Board([], {})
    for folder in folders:
        try:
            board.entries.append(_entry(folder))
        except ConfigError as error:
            board.broken[folder] = str(error)
    if not board.entries:
        raise ConfigError("\n".join(board.broken.values()))
    return board


def _entry(folder: str) -> Entry:
    """What a run's summary tells.

    Raises:
        ConfigError: there is none, it is damaged, or it is of several combinations.
    """
    told = summary.read(Path(folder))
    if told is None:
        raise ConfigError(f"runs: '{folder}' has no summary yet, or is no run")
    if told.ranking:
        raise ConfigError(f"runs: '{folder}' swept hyper-parameters; allowed: others")
    preset = "" if told.preset in (None, "default") else f" ({told.preset})"
    return Entry(
        algo=f"{told.algo}{preset}",
        world="/".join(str(part) for part in (told.env, told.map) if part is not None),
        measure=told.measure,
        found=told.last_three[told.measure],
        seeds=told.seeds,
        env_steps=told.env_steps,
        commit=(told.commit or "unknown")[:SHORT],
        device=told.device or "unknown",
    )


def page(entries: Sequence[Entry]) -> str:
    """Markdown: algorithms against worlds, then the runs of each world, best first.

    Where an algorithm has several runs in a world, the first table has that of most
    seeds, and of those that of most env steps.
    """
    worlds = _by_world(entries)
    parts = [TITLE, _across(worlds), _note(entries)]
    for (world, measure), part in worlds.items():
        parts += [f"## {world}: {headline.name(measure)}", _within(part)]
    return "\n\n".join(parts) + "\n"


def _by_world(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Runs of each world; a world with returns of some runs alone has two tables."""
    keys = sorted({(one.world, one.measure) for one in entries})
    return {
        key: sorted(
            (one for one in entries if (one.world, one.measure) == key), key=_rank
        )
        for key in keys
    }


def _rank(entry: Entry) -> tuple[bool, float, str]:
    """Best first, unknown numbers last."""
    value = entry.found.value
    unknown = math.isnan(value)
    return unknown, 0.0 if unknown else -value, entry.algo


def _across(worlds: Mapping[Any, Sequence[Entry]]) -> str:
    """A row for each algorithm, a column for each world."""
    columns = [
        {one.algo: one.text for one in sorted(part, key=_weight)}  # the last one stays
        for part in worlds.values()
    ]
    algos = sorted({algo for column in columns for algo in column})
    head = ["algorithm", *(f"{w}: {headline.NAMES[m]}" for w, m in worlds)]
    rows = [[algo, *(column.get(algo, "-") for column in columns)] for algo in algos]
    return aligned(head, rows, right=False)


def _weight(entry: Entry) -> tuple[int, int]:
    return entry.seeds, entry.env_steps


def _note(entries: Sequence[Entry]) -> str:
    """What the numbers are."""
    brackets = "95 % bootstrap interval"
    if any(one.seeds < stats.ENOUGH for one in entries):
        brackets += ", of fewer than five seeds their range"
    return (
        f"Interquartile mean over seeds of each one's {headline.WHEN}; in brackets: "
        f"{brackets}. A name in parentheses is the preset of a run that has another "
        "than `default`. Runs differ in env steps and commits: see below."
    )


def _within(part: Sequence[Entry]) -> str:
    """The runs of one world."""
    head = ["algorithm", "result", "seeds", "env steps", "commit", "device"]
    rows = [
        [x.algo, x.text, str(x.seeds), f"{x.env_steps:,}", x.commit, x.device]
        for x in part
    ]
    return aligned(head, rows, right=False)
