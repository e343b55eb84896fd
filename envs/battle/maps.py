"""Maps of the battle environments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from envs.battle.units import JAXMARL, Kind, pool

Team = Mapping[str, int]
Starts = Literal["facing", "jaxmarl", "smacv2"]


class Choke(NamedTuple):
    """Rock from the lower to the upper border, but for a gap around the middle.

    Attributes:
        left: where the rock begins, in map units.
        right: where it ends.
        low: where the gap begins.
        high: where it ends.
    """

    left: float
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class Battle:
    """Who fights, where.

    Attributes:
        allies: types of the team that is learned, one name a unit.
        enemies: types of the scripted team.
        starts: two groups that face, or random starts, as JaxMARL has them (where
            units may lie at the border and die in the first step) or as SMACv2 has.
        weights: chances of types where resets draw them (SMACv2), else ``None``; types
            that are left out never occur.
        choke: rock that units must go around.
    """

    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    starts: Starts = "facing"
    weights: Mapping[str, float] | None = None
    choke: Choke | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The types that may occur."""
        return pool(self.weights or {*self.allies, *self.enemies})


def team(units: Team) -> tuple[str, ...]:
    """One name a unit, in the order given."""
    return tuple(name for name, count in units.items() for _ in range(count))


def _fixed(allies: Team, enemies: Team | None = None, **more: object) -> Battle:
    """A map with fixed teams; without ``enemies`` both are equal."""
    return Battle(team(allies), team(enemies or allies), **more)  # type: ignore


def _drawn(n: int, m: int, weights: Mapping[str, float], starts: Starts) -> Battle:
    """A SMACv2 map of ``n`` against ``m`` units."""
    first = next(iter(weights))
    return Battle((first,) * n, (first,) * m, starts, weights)


_ANY = {kind.name: 1 / len(JAXMARL) for kind in JAXMARL}
_RACES = {
    "terran": {"marine": 0.45, "marauder": 0.45, "medivac": 0.1},
    "protoss": {"stalker": 0.45, "zealot": 0.45, "colossus": 0.1},
    "zerg": {"zergling": 0.45, "hydralisk": 0.45, "baneling": 0.1},
}
# JaxMARL's own maps, then SMAC's and ROMA's that it lacks, then SMACv2's.
MAPS = {
    "3m": _fixed({"marine": 3}),
    "8m": _fixed({"marine": 8}),
    "25m": _fixed({"marine": 25}),
    "2s3z": _fixed({"stalker": 2, "zealot": 3}),
    "3s5z": _fixed({"stalker": 3, "zealot": 5}),
    "5m_vs_6m": _fixed({"marine": 5}, {"marine": 6}),
    "10m_vs_11m": _fixed({"marine": 10}, {"marine": 11}),
    "27m_vs_30m": _fixed({"marine": 27}, {"marine": 30}),
    "3s5z_vs_3s6z": _fixed({"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 6}),
    "3s_vs_5z": _fixed({"stalker": 3}, {"zealot": 5}),
    "6h_vs_8z": _fixed({"hydralisk": 6}, {"zealot": 8}),
    "smacv2_5_units": _drawn(5, 5, _ANY, "jaxmarl"),
    "smacv2_10_units": _drawn(10, 10, _ANY, "jaxmarl"),
    "smacv2_20_units": _drawn(20, 20, _ANY, "jaxmarl"),
    "MMM": _fixed({"marine": 7, "marauder": 2, "medivac": 1}),
    "MMM2": _fixed(
        {"marine": 7, "marauder": 2, "medivac": 1},
        {"marine": 8, "marauder": 3, "medivac": 1},
    ),
    "1c3s5z": _fixed({"colossus": 1, "stalker": 3, "zealot": 5}),
    "corridor": _fixed(
        {"zealot": 6}, {"zergling": 24}, choke=Choke(14.5, 17.5, 12.5, 19.5)
    ),
    "6z4b": _fixed({"zergling": 6, "baneling": 4}),
    "10z5b_vs_2z3s": _fixed(
        {"zergling": 10, "baneling": 5}, {"zealot": 2, "stalker": 3}
    ),
    "6s4z_vs_10b30z": _fixed(
        {"stalker": 6, "zealot": 4}, {"baneling": 10, "zergling": 30}
    ),
    "bane_vs_bane": _fixed({"zergling": 20, "baneling": 4}),
    "2c_vs_64zg": _fixed({"colossus": 2}, {"zergling": 64}),
    "so_many_baneling": _fixed({"zealot": 7}, {"baneling": 32}),
} | {
    f"smacv2_{race}_{n}_vs_{m}": _drawn(n, m, weights, "smacv2")
    for race, weights in _RACES.items()
    for n, m in ((5, 5), (10, 10), (10, 11))
}
