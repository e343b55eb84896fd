"""Scenarios of JaxMARL's SMAX: the registered maps, and teams from the config."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO, SMAX, Scenario

from rolemarl_jax.config import ConfigError, nearest

CUSTOM = "custom"
# A previous action is packed into one byte; five actions are not attacks.
MAX_TEAM = 250

Team = Mapping[str, int] | None


def scenario(
    name: str,
    allies: Team,
    enemies: Team,
    random_positions: bool | None,
    random_types: bool | None,
) -> Scenario:
    """The scenario that the configuration asks for.

    Args:
        name: a registered map, or ``custom``.
        allies: types and counts of a custom map's allies.
        enemies: types and counts of its enemies.
        random_positions: SMACv2's start positions; ``None`` keeps the map's.
        random_types: SMACv2's random types; ``None`` keeps the map's.

    Raises:
        ConfigError: unknown map or type, an empty or too large team, or teams
            given for a map that has its own.
    """
    if name == CUSTOM:
        found = _custom(allies, enemies)
    elif name not in MAP_NAME_TO_SCENARIO:
        names = [*MAP_NAME_TO_SCENARIO, CUSTOM]
        raise ConfigError(f"env.map: got {name!r}; {nearest(name, names)}")
    elif allies is not None or enemies is not None:
        raise ConfigError(
            f"env.allies, env.enemies: map {name!r} has its own teams; leave both "
            f"null, or set env.map={CUSTOM}"
        )
    else:
        found = MAP_NAME_TO_SCENARIO[name]
    positions, types = (
        found.smacv2_position_generation,
        found.smacv2_unit_type_generation,
    )
    return Scenario(
        found.unit_types,
        found.num_allies,
        found.num_enemies,
        positions if random_positions is None else random_positions,
        types if random_types is None else random_types,
    )


def _custom(allies: Team, enemies: Team) -> Scenario:
    """A scenario from two ``{type: count}`` mappings."""
    # The defaults of its constructor are the only place that has the type names.
    names = SMAX(scenario=MAP_NAME_TO_SCENARIO["3m"]).unit_type_names
    ours, theirs = _ids("allies", allies, names), _ids("enemies", enemies, names)
    types = jnp.array(ours + theirs, dtype=jnp.uint8)
    return Scenario(types, len(ours), len(theirs), False, False)


def _ids(key: str, team: Team, names: Sequence[str]) -> list[int]:
    """Type ids of one team, in the order given."""
    if not team:
        raise ConfigError(
            f"env.{key}: got {team!r}; map {CUSTOM!r} needs at least one unit, "
            f"as {{type: count}}; types: {', '.join(names)}"
        )
    for kind, count in team.items():
        if kind not in names:
            raise ConfigError(
                f"env.{key}: unknown type {kind!r}; {nearest(kind, names)}"
            )
        if count < 1:
            raise ConfigError(f"env.{key}.{kind}: got {count}; at least 1 is needed")
    if sum(team.values()) > MAX_TEAM:
        raise ConfigError(
            f"env.{key}: got {sum(team.values())} units; at most {MAX_TEAM} fit"
        )
    return [names.index(kind) for kind, count in team.items() for _ in range(count)]
