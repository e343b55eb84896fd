"""Maps of the battle environments, and teams from the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from envs.battle.units import BY_NAME, JAXMARL, Kind, pool
from rolemarl_jax.config import ConfigError, nearest

CUSTOM = "custom"
# A previous action is packed into one byte; five actions are not attacks.
MAX_TEAM = 250

Team = Mapping[str, int]


class Choke(NamedTuple):
    """Rock from the lower to the upper border, but for a gap around the middle."""

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
        random_positions: SMACv2's start positions, else two groups that face.
        weights: chances of types where resets draw them (SMACv2), else ``None``.
        clipped: random start positions are kept inside of the map. JaxMARL's
            are not: it loses units at the border in the first step.
        choke: rock that units must go around.
    """

    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    random_positions: bool = False
    weights: Team | Mapping[str, float] | None = None
    clipped: bool = True
    choke: Choke | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The types that may occur."""
        return pool(self.weights or {*self.allies, *self.enemies})


def _team(units: Team) -> tuple[str, ...]:
    """One name a unit, in the order given."""
    return tuple(name for name, count in units.items() for _ in range(count))


def _fixed(allies: Team, enemies: Team | None = None, **more: object) -> Battle:
    """A map with fixed teams; without ``enemies`` both are equal."""
    return Battle(_team(allies), _team(enemies or allies), **more)  # type: ignore


def _drawn(n: int, m: int, weights: Mapping[str, float], clipped: bool) -> Battle:
    """A SMACv2 map of ``n`` against ``m`` units."""
    first = next(iter(weights))
    return Battle((first,) * n, (first,) * m, True, weights, clipped)


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
    "smacv2_5_units": _drawn(5, 5, _ANY, clipped=False),
    "smacv2_10_units": _drawn(10, 10, _ANY, clipped=False),
    "smacv2_20_units": _drawn(20, 20, _ANY, clipped=False),
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
    f"smacv2_{race}_{n}_vs_{m}": _drawn(n, m, weights, clipped=True)
    for race, weights in _RACES.items()
    for n, m in ((5, 5), (10, 10), (10, 11))
}


def find(
    name: str,
    allies: Team | None,
    enemies: Team | None,
    random_positions: bool | None,
    random_types: bool | None,
) -> Battle:
    """The battle that the configuration asks for.

    Args:
        name: a map, or ``custom``.
        allies: types and counts of a custom map's allies.
        enemies: types and counts of its enemies.
        random_positions: SMACv2's start positions; ``None`` keeps the map's.
        random_types: SMACv2's random types; ``None`` keeps the map's.

    Raises:
        ConfigError: unknown map or type, an empty or too large team, or teams
            given for a map that has its own.
    """
    if name == CUSTOM:
        battle = Battle(_checked("allies", allies), _checked("enemies", enemies))
    elif name not in MAPS:
        raise ConfigError(f"env.map: got {name!r}; {nearest(name, [*MAPS, CUSTOM])}")
    elif allies is not None or enemies is not None:
        raise ConfigError(
            f"env.allies, env.enemies: map {name!r} has its own teams; leave both "
            f"null, or set env.map={CUSTOM}"
        )
    else:
        battle = MAPS[name]
    if random_positions is not None:
        battle = replace(battle, random_positions=random_positions)
    if random_types is False and battle.weights:
        raise ConfigError(
            f"env.random_types: got false; map {name!r} has no teams of its own, "
            f"set env.map={CUSTOM} and name them"
        )
    if random_types and not battle.weights:
        weights = {kind.name: 1 / len(battle.kinds) for kind in battle.kinds}
        battle = replace(battle, weights=weights)
    return battle


def _checked(key: str, team: Team | None) -> tuple[str, ...]:
    """One team of a custom map."""
    if not team:
        raise ConfigError(
            f"env.{key}: got {team!r}; map {CUSTOM!r} needs at least one unit, "
            f"as {{type: count}}; types: {', '.join(BY_NAME)}"
        )
    for name, count in team.items():
        if name not in BY_NAME:
            raise ConfigError(
                f"env.{key}: unknown type {name!r}; {nearest(name, BY_NAME)}"
            )
        if count < 1:
            raise ConfigError(f"env.{key}.{name}: got {count}; at least 1 is needed")
    if sum(team.values()) > MAX_TEAM:
        raise ConfigError(
            f"env.{key}: got {sum(team.values())} units; at most {MAX_TEAM} fit"
        )
    return _team(team)
