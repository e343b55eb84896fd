"""One number a seed, by algorithm and world: what comparisons are made of."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rolemarl_jax.config import ConfigError
from rolemarl_jax.report import columns, curve, headline
from rolemarl_jax.report.columns import Column
from rolemarl_jax.report.gather import Group


class Asked(NamedTuple):
    """What is to be compared.

    Attributes:
        metric: a column of ``metrics.jsonl``; None is the headline measure.
        split: ``test`` or ``train``; None is where the column is.
    """

    metric: str | None = None
    split: str | None = None


class Compared(NamedTuple):
    """Algorithms in the same worlds.

    Attributes:
        title: of the measure.
        worlds: names.
        tables: by label, the curve of each world.
    """

    title: str
    worlds: list[str]
    tables: dict[str, list[curve.Table]]

    @property
    def scores(self) -> dict[str, list[np.ndarray]]:
        """By label, mean of each seed's last evaluations `[R_k]` in each world."""
        return {k: [last(t) for t in tables] for k, tables in self.tables.items()}


def by_world(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups of each world, in order of appearance."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.world, []).append(group)
    return found


def column(asked: Asked, groups: Sequence[Group]) -> Column | None:
    """The column that is meant in one world."""
    rows = [row for group in groups for row in group.rows]
    return columns.chosen(asked.metric, asked.split, rows)


def require(asked: Asked, groups: Sequence[Group]) -> None:
    """Refuses what no world can show.

    Raises:
        ConfigError: an unknown metric or split, or no evaluation yet.
    """
    rows = [row for group in groups for row in group.rows]
    columns.require_split(asked.split)
    if asked.metric is not None:
        columns.require(asked.metric, rows)
    if any(column(asked, part) for part in by_world(groups).values()):
        return
    if asked.metric is None and asked.split is None:
        raise ConfigError(
            "runs: no evaluation has been made yet; split=train shows the episodes of "
            "training"
        )
    raise ConfigError(
        f"split: got '{asked.split}'; {asked.metric or 'win_rate or return'} has no "
        "numbers of it"
    )


def compared(asked: Asked, groups: Sequence[Group]) -> Compared:
    """Algorithms side by side, in worlds that all of them have been in.

    Raises:
        ConfigError: as ``require``; worlds that differ between algorithms; returns of
            several worlds, which have no common scale.
    """
    require(asked, groups)
    worlds = by_world(groups)
    found = {world: column(asked, part) for world, part in worlds.items()}
    keys = {one.key for one in found.values() if one is not None}
    if len(worlds) > 1 and keys != {"win_rate"}:
        raise ConfigError(
            f"runs: got worlds {', '.join(worlds)}; of several only win rates have a "
            "common scale: choose runs of one world, or of worlds that are won or lost"
        )
    tables: dict[str, dict[str, curve.Table]] = {}
    for group in groups:
        at = found[group.world]
        if at is not None:
            made = curve.table(group.rows, at.split, at.key)
            tables.setdefault(group.label, {})[group.world] = made
    _require_same(tables, list(worlds))
    title = next(one.title for one in found.values() if one is not None)
    return Compared(
        title, list(worlds), {k: [v[w] for w in worlds] for k, v in tables.items()}
    )


def _require_same(
    tables: Mapping[str, Mapping[str, curve.Table]], worlds: list[str]
) -> None:
    """Refuses algorithms that have not been in all worlds."""
    lacking = [
        f"{label} has no numbers in {world}"
        for label, own in tables.items()
        for world in worlds
        if world not in own or not np.isfinite(own[world].values).any()
    ]
    if lacking:
        raise ConfigError(
            f"runs: {'; '.join(lacking)}; allowed: algorithms in the same worlds"
        )


def last(table: curve.Table) -> np.ndarray:
    """Mean of each seed's last evaluations `[R]`, of seeds that have any."""
    means = np.array([headline.of_seed(row) for row in table.values])
    return means[np.isfinite(means)]
