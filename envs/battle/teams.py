"""Battles from the configuration, checked before anything is compiled."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from envs.battle.maps import MAPS, Battle, Team, team
from envs.battle.units import BY_NAME, JAXMARL
from envs.battle.world import SIZE
from rolemarl_jax.config import ConfigError, nearest

CUSTOM = "custom"
# A previous action is packed into one byte; five actions are not attacks.
MAX_TEAM = 250
# Of the free floor, that the squares around all bodies may cover.
MAX_COVER = 0.5


@dataclass(frozen=True)
class Wish:
    """Keys of the configuration that say who fights.

    Attributes:
        map: a map, or ``custom``.
        allies: types and counts of a custom map's allies.
        enemies: types and counts of its enemies.
        random_positions: SMACv2's start positions; ``None`` keeps the map's.
        random_types: SMACv2's random types; ``None`` keeps the map's.
        type_weights: chances of random types, 0 for types that are left out; ``None``
            keeps the map's. Where it has none, all of JaxMARL's six types are equally
            likely, and on a map with other types besides those that its teams name.
    """

    map: str
    allies: Team | None
    enemies: Team | None
    random_positions: bool | None
    random_types: bool | None
    type_weights: Mapping[str, float] | None


def find(wish: Wish) -> Battle:
    """The battle that the configuration asks for.

    Raises:
        ConfigError: unknown map or type, an empty, harmless or too large team,
            teams for a map that has its own, weights that are not chances.
    """
    # Starts depend on the types that may occur.
    battle = _starts(wish, _types(wish, _base(wish)))
    _harmless(battle)
    _crowded(wish, battle)
    return battle


def _base(wish: Wish) -> Battle:
    """The map, or the custom teams."""
    if wish.map == CUSTOM:
        return Battle(
            _checked("allies", wish.allies), _checked("enemies", wish.enemies)
        )
    if wish.map not in MAPS:
        known = nearest(wish.map, [*MAPS, CUSTOM])
        raise ConfigError(f"env.map: got {wish.map!r}; {known}")
    if wish.allies is not None or wish.enemies is not None:
        raise ConfigError(
            f"env.allies, env.enemies: map {wish.map!r} has its own teams; leave both "
            f"null, or set env.map={CUSTOM}"
        )
    return MAPS[wish.map]


def _starts(wish: Wish, battle: Battle) -> Battle:
    """The battle with the starts wished for."""
    if wish.random_positions is None:
        return battle
    if not wish.random_positions:
        return replace(battle, starts="facing")
    if battle.choke is not None:
        raise ConfigError(
            f"env.random_positions: got true; map {wish.map!r} has rock in its middle; "
            "leave it null"
        )
    if battle.starts != "facing":
        return battle
    known = battle.kinds == JAXMARL
    return replace(battle, starts="jaxmarl" if known else "smacv2")


def _types(wish: Wish, battle: Battle) -> Battle:
    """The battle with the random types wished for."""
    if wish.random_types is False and battle.weights:
        raise ConfigError(
            f"env.random_types: got false; map {wish.map!r} has no teams of its own, "
            f"set env.map={CUSTOM} and name them"
        )
    if not battle.weights and not wish.random_types:
        if wish.type_weights is not None:
            raise ConfigError(
                f"env.type_weights: map {wish.map!r} has fixed types; leave it null, "
                "or set env.random_types=true"
            )
        return battle
    if wish.type_weights is not None:
        return replace(battle, weights=_chances(wish.type_weights))
    if battle.weights:
        return battle
    equal = {kind.name: 1 / len(battle.kinds) for kind in battle.kinds}
    return replace(battle, weights=equal)


def _chances(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Weights that are chances of types."""
    for name, weight in weights.items():
        _known("type_weights", name)
        if not weight > 0:
            raise ConfigError(
                f"env.type_weights.{name}: got {weight}; above 0 is needed, leave out "
                "types that shall not occur"
            )
    total = sum(weights.values())
    if not abs(total - 1) < 1e-6:
        raise ConfigError(
            f"env.type_weights: got a sum of {total:g}; chances of types add up to 1"
        )
    return weights


def _checked(key: str, units: Team | None) -> tuple[str, ...]:
    """One team of a custom map."""
    if not units:
        raise ConfigError(
            f"env.{key}: got {units!r}; map {CUSTOM!r} needs at least one unit, "
            f"as {{type: count}}; types: {', '.join(BY_NAME)}"
        )
    for name, count in units.items():
        _known(key, name)
        if count < 1:
            raise ConfigError(f"env.{key}.{name}: got {count}; at least 1 is needed")
    if sum(units.values()) > MAX_TEAM:
        raise ConfigError(
            f"env.{key}: got {sum(units.values())} units; at most {MAX_TEAM} fit"
        )
    return team(units)


def _known(key: str, name: str) -> None:
    """Refuses a type that there is not."""
    if name not in BY_NAME:
        raise ConfigError(f"env.{key}: unknown type {name!r}; {nearest(name, BY_NAME)}")


def _harmless(battle: Battle) -> None:
    """Refuses a team that can only heal."""
    teams = {"allies": battle.allies, "enemies": battle.enemies}
    if battle.weights:
        teams = {"type_weights": tuple(battle.weights)}
    for key, names in teams.items():
        if all(BY_NAME[name].heals for name in names):
            raise ConfigError(
                f"env.{key}: got only {', '.join(sorted(set(names)))}, who heal and "
                "cannot fight; add a unit that attacks"
            )


def _crowded(wish: Wish, battle: Battle) -> None:
    """Refuses more units than the arena has floor for."""
    free = SIZE[0] * SIZE[1]
    if battle.choke is not None:
        rock = battle.choke
        free -= (rock.right - rock.left) * (SIZE[1] - (rock.high - rock.low))
    names = battle.allies + battle.enemies
    cover = [(2 * BY_NAME[name].radius) ** 2 for name in names]
    if battle.weights:
        widest = max(BY_NAME[name].radius for name in battle.weights)
        cover = [(2 * widest) ** 2] * len(names)
    if sum(cover) > MAX_COVER * free:
        raise ConfigError(
            f"env.allies, env.enemies: {len(names)} units of map {wish.map!r} would "
            f"cover {sum(cover):.0f} of {free:.0f} units of floor; at most "
            f"{MAX_COVER:.0%} of it is allowed, take fewer or smaller ones"
        )
