"""What allies and learner see of a battle, laid out as in JaxMARL's SMAX.

Equal to JaxMARL's own up to the last bit of a float, at half the work: rows of
allies only. Properties of types enter as reciprocals that are constants of the
program, because XLA may turn a division by a constant into such a product: then
two programs would render one world differently in the last bit.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from envs.battle.world import MOVES, STOP, Rules, Units
from rolemarl_jax.types import Array, Observation

OWN = 4  # features of the own row before the type: health, x, y, cooldown
OTHER = 7  # the same of others: health, x, y, last move x, y, last attack, cooldown


def sizes(rules: Rules) -> tuple[int, int]:
    """O and S, the features of an observation and of the global state."""
    kinds, units = len(rules.health), rules.n_units
    return (OTHER + kinds) * (units - 1) + OWN + kinds, (OWN + kinds + 2) * units


def observer(rules: Rules, raw: bool) -> Callable[[Units], Observation]:
    """Makes ``observe``.

    Args:
        rules: the battle.
        raw: whether the global state is JaxMARL's own. If not, every feature of
            it is in [0, 1].
    """
    look = _looker(rules)
    whole = _raw_state if raw else _state

    def observe(units: Units) -> Observation:
        types = units.types if rules.types is None else rules.types
        units = units._replace(types=types.astype(np.int32))
        return Observation(look(units), whole(rules, units), _avail(rules, units))

    return observe


def _looker(rules: Rules) -> Callable[[Units], Array]:
    """Makes the function from a world to the allies' observations ``[N, O]``."""
    n, units = rules.n_allies, np.arange(rules.n_units)
    others = np.stack([units[units != i] for i in range(n)])  # [N, U - 1]
    shown = (units < n) | rules.see_enemy_actions
    enemy_actions = STOP + 1 + n
    top = np.where(units < n, rules.n_actions - 1, enemy_actions - 1)
    per_action = (shown / top).astype(np.float32)

    def look(world: Units) -> Array:
        alive = world.health > 0
        health, ready, kind = _condition(rules, world)
        move = jnp.array(MOVES)[jnp.minimum(world.action, STOP)] * shown[:, None]
        attack = jnp.where(world.action > STOP, world.action, 0) * per_action
        about = jnp.concatenate(
            [health[:, None], move, attack[:, None], ready[:, None], kind], 1
        )[others]
        away = world.position[others] - world.position[:n, None]
        scaled = away * _of(1 / rules.sight, world.types[:n])[:, None, None]
        seen = (away**2).sum(-1) < _of(rules.sight**2, world.types[:n])[:, None]
        seen &= alive[:n, None] & alive[others]
        rows = jnp.concatenate([about[..., :1], scaled, about[..., 1:]], -1)
        rows = jnp.where(seen[..., None], rows, 0.0).reshape(n, -1)
        place = world.position[:n] * _per_map(rules)
        own = [health[:n, None], place, ready[:n, None], kind[:n]]
        own = jnp.where(alive[:n, None], jnp.concatenate(own, 1), 0.0)
        return jnp.concatenate([rows, own], 1)

    return look


def _avail(rules: Rules, world: Units) -> Array:
    """Mask ``[N, A]`` of the actions that allies may take."""
    n, alive = rules.n_allies, world.health > 0
    away = world.position[n:] - world.position[:n, None]
    near = (away**2).sum(-1) < _of(rules.reach**2, world.types[:n])[:, None]
    able = alive[:n, None]
    move = jnp.broadcast_to(able, (n, STOP))
    return jnp.concatenate(
        [move, jnp.ones((n, 1), bool), near & alive[n:] & able], axis=1
    )


def _state(rules: Rules, world: Units) -> Array:
    """Global state ``[S]`` with every feature in [0, 1]."""
    health, ready, kind = _condition(rules, world)
    # A push may leave a living unit a little outside of the map.
    place = jnp.clip(world.position * _per_map(rules), 0.0, 1.0)
    columns = [health[:, None], place, ready[:, None], kind]
    types = world.types * np.float32(1 / max(len(rules.health) - 1, 1))
    return _join(rules, world, columns, types)


def _raw_state(rules: Rules, world: Units) -> Array:
    """Global state ``[S]`` as JaxMARL has it."""
    health, _, kind = _condition(rules, world)
    columns = [health[:, None], world.position, world.cooldown[:, None], kind]
    return _join(rules, world, columns, world.types)


def _join(rules: Rules, world: Units, columns: list[Array], types: Array) -> Array:
    """Features of living units, then every unit's team, then every unit's type."""
    alive = world.health > 0
    features = jnp.where(alive[:, None], jnp.concatenate(columns, 1), 0.0)
    teams = jnp.arange(rules.n_units) >= rules.n_allies
    return jnp.concatenate([features.reshape(-1), teams, types], dtype=jnp.float32)


def _condition(rules: Rules, world: Units) -> tuple[Array, Array, Array]:
    """Health and cooldown as fractions ``[U]``, and the type's bits ``[U, kinds]``."""
    health = world.health * _of(1 / rules.health, world.types)
    wait = world.cooldown * _of(1 / rules.cooldown, world.types)
    kind = world.types[:, None] == np.arange(len(rules.health))
    return health, jnp.clip(wait, 0.0, 1.0), kind.astype(jnp.float32)


def _per_map(rules: Rules) -> np.ndarray:
    """What scales a position to [0, 1]."""
    return (1 / np.array(rules.size)).astype(np.float32)


def _of(table: np.ndarray, types: Array) -> Array:
    """A property of types, looked up for units."""
    return jnp.array(table.astype(np.float32))[types]
