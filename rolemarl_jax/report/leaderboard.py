"""All algorithms in all worlds, from what finished runs tell of themselves.

Compared are runs of one world and length, by one measure for all of them.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import headline, names, provenance, stats, summary
from rolemarl_jax.report.table import aligned

TITLE = "# Leaderboard"


class Entry(NamedTuple):
    """A finished run.

    Attributes:
        algo: its name, and its preset where that is not ``default``.
        learner: that it was trained by.
        world: ``smax/3m``.
        length: env steps a seed that were asked for, or that a stopped run has made.
        measure: ``win_rate``, or ``return`` where no episode was ever won.
        found: by measure, interquartile mean over seeds of each one's last three
            evaluations, with its interval or, of fewer than five seeds, their range.
        seeds: that have been evaluated.
        env_steps: a seed.
        commit: of the code, and whether that was altered.
        device: kind and number.
    """

    algo: str
    learner: str
    world: str
    length: int
    measure: str
    found: summary.Means
    seeds: int
    env_steps: int
    commit: str
    device: str

    def text(self, measure: str) -> str:
        """``0.87 [0.85, 0.90]``."""
        form = headline.FORMS[measure]
        return headline.number(self.found[measure], form, self.seeds)


class Part(NamedTuple):
    """Runs that are compared.

    Attributes:
        title: their world and length: ``smax/3m, 100,000 steps``.
        measure: what they are compared by: ``win_rate`` or ``return``.
        entries: best first.
    """

    title: str
    measure: str
    entries: list[Entry]


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
        raise ConfigError(
            f"runs: '{folder}' has sweep.hypers; allowed: runs without, such as one "
            "with the value that did best, algo.lr=1e-3"
        )
    preset = "" if told.preset in (None, "default") else f" ({told.preset})"
    config = rundir.load(folder)
    asked = int(config.get("total_steps") or told.env_steps)
    return Entry(
        algo=f"{told.algo}{preset}",
        learner=config["algo"].get("learner", "unknown"),
        world=names.world(config),
        length=min(asked, told.env_steps),
        measure=told.measure,
        found=told.last_three,
        seeds=told.seeds,
        env_steps=told.env_steps,
        commit=provenance.short(told.commit),
        device=told.device or "unknown",
    )


def page(entries: Sequence[Entry]) -> str:
    """Markdown: algorithms against worlds, then the runs of each world, best first.

    Where an algorithm has several runs of one world and length, the first table has
    that of most seeds, and of those that of most env steps.
    """
    parts = _parts(_told_apart(entries))
    shown = [TITLE, _across(parts), _note(entries)]
    for part in parts:
        shown += [f"## {part.title}: {headline.name(part.measure)}", _within(part)]
    return "\n\n".join(shown) + "\n"


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Names get their learner where there are runs of one name by several."""
    learners: dict[str, set[str]] = {}
    for one in entries:
        learners.setdefault(one.algo, set()).add(one.learner)
    return [
        one._replace(algo=f"{one.algo} ({one.learner})")
        if len(learners[one.algo]) > 1
        else one
        for one in entries
    ]


def _parts(entries: Sequence[Entry]) -> list[Part]:
    """Runs of each world and length."""
    keys = sorted({(one.world, one.length) for one in entries})
    return [
        _part(key, [x for x in entries if (x.world, x.length) == key]) for key in keys
    ]


def _part(key: tuple[str, int], entries: Sequence[Entry]) -> Part:
    """Judged by the win rate where any of them has won an episode."""
    won = any(one.measure == "win_rate" for one in entries)
    measure = "win_rate" if won else "return"
    best = sorted(entries, key=lambda one: _rank(one, measure))
    return Part(f"{key[0]}, {key[1]:,} steps", measure, best)


def _rank(entry: Entry, measure: str) -> tuple[bool, float, str]:
    """Best first, unknown numbers last."""
    value = entry.found[measure].value
    unknown = math.isnan(value)
    return unknown, 0.0 if unknown else -value, entry.algo


def _across(parts: Sequence[Part]) -> str:
    """A row for each algorithm, a column for each world and length."""
    columns = [
        # The last one stays.
        {x.algo: x.text(part.measure) for x in sorted(part.entries, key=_weight)}
        for part in parts
    ]
    algos = sorted({algo for column in columns for algo in column})
    head = ["algorithm", *(f"{x.title}: {headline.NAMES[x.measure]}" for x in parts)]
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
        "than `default`, or the learner where a name has runs by several. Runs differ "
        "in commits and devices: see below, where returns stand besides win rates."
    )


def _within(part: Part) -> str:
    """The runs of one world and length; where they are won, with their returns too."""
    shown = list(dict.fromkeys([part.measure, "return"]))
    head = [headline.NAMES[measure] for measure in shown]
    rows = [
        [
            *(x.algo, *map(x.text, shown), str(x.seeds), f"{x.env_steps:,}"),
            *(x.commit, x.device),
        ]
        for x in part.entries
    ]
    head = ["algorithm", *head, "seeds", "env steps", "commit", "device"]
    return aligned(head, rows, right=False)
