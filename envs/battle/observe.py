"""What allies and learner see of a battle, laid out as in JaxMARL's SMAX.

Equal to JaxMARL's own up to the last bit of a float, at half the work: rows of
allies only. Properties of types enter as reciprocals that are constants of the
program, because XLA may turn a division by a constant into such a product: then
two programs would render one world differently in the last bit.

Where shields are on, the fraction of the shield follows that of health.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.battle.world import MOVES, SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array, Observation

OWN = 4  # features of the own row before the type: health, x, y, cooldown
OTHER = 7  # the same of others: health, x, y, last move x, y, last attack, cooldown
PER_MAP = (1 / np.array(SIZE)).astype(np.float32)


class Looks(NamedTuple):
    """How units look, wherever they are seen from."""

    health: Array  # [U, 1 or 2]: health, shield where shields are on
    ready: Array  # [U, 1], the cooldown
    kind: Array  # [U, kinds] 0 or 1


def sizes(rules: Rules) -> tuple[int, int]:
    """O and S, the features of an observation and of the global state."""
    kinds, units = len(rules.kinds) + rules.shields, rules.n_units
    return (OTHER + kinds) * (units - 1) + OWN + kinds, (OWN + kinds + 2) * units


def observer(rules: Rules, *, raw: bool) -> Callable[[Units], Observation]:
    """Makes ``observe``.

    Args:
        rules: the battle.
        raw: whether the global state is JaxMARL's own. If not, every feature of
            it is in [0, 1].
    """
    rows = _rows(rules)
    whole = _raw_state if raw else _state

    def observe(units: Units) -> Observation:
        if rules.types is not None:
            units = units._replace(types=rules.types.astype(np.int32))
        looks = _looks(rules, units)
        return Observation(
            rows(units, looks), whole(rules, units, looks), _avail(rules, units)
        )

    return observe


def _rows(rules: Rules) -> Callable[[Units, Looks], Array]:
    """Makes the function from a world to the allies' observations ``[N, O]``."""
    n, units = rules.n_allies, np.arange(rules.n_units)
    others = np.stack([units[units != i] for i in range(n)])  # [N, U - 1]
    shown = (units < n) | rules.see_enemy_actions
    ours, theirs = rules.targets
    top = np.where(units < n, STOP + ours, STOP + theirs)
    per_action = (shown / top).astype(np.float32)
    sight = rules.table("sight")

    def rows(world: Units, looks: Looks) -> Array:
        alive = world.health > 0
        move = jnp.array(MOVES)[jnp.minimum(world.action, STOP)] * shown[:, None]
        attack = jnp.where(world.action > STOP, world.action, 0) * per_action
        after = [move, attack[:, None], looks.ready, looks.kind]
        away = world.position[others] - world.position[:n, None]
        scaled = away * look_up(1 / sight, world.types[:n])[:, None, None]
        seen = (away**2).sum(-1) < look_up(sight**2, world.types[:n])[:, None]
        seen &= alive[:n, None] & alive[others]
        parts = [looks.health[others], scaled, jnp.concatenate(after, 1)[others]]
        seen_rows = jnp.where(seen[..., None], jnp.concatenate(parts, -1), 0.0)
        place = world.position[:n] * PER_MAP
        own = [looks.health[:n], place, looks.ready[:n], looks.kind[:n]]
        own_row = jnp.where(alive[:n, None], jnp.concatenate(own, 1), 0.0)
        return jnp.concatenate([seen_rows.reshape(n, -1), own_row], 1)

    return rows


def _avail(rules: Rules, world: Units) -> Array:
    """Mask ``[N, A]`` of the actions that allies may take."""
    n, alive, slots = rules.n_allies, world.health > 0, rules.targets[0]
    reach = look_up(rules.table("reach") ** 2, world.types[:n])[:, None]
    able = alive[:n, None]

    def near(others: slice) -> Array:
        away = world.position[others] - world.position[:n, None]
        return ((away**2).sum(-1) < reach) & alive[others] & able

    def padded(mask: Array) -> Array:
        return jnp.pad(mask, ((0, 0), (0, slots - mask.shape[1])))

    target = padded(near(slice(n, None)))
    if rules.heals:
        healer = look_up(rules.table("heals"), world.types[:n]) > 0
        patient = near(slice(0, n)) & ~healer
        target = jnp.where(healer[:, None], padded(patient), target)
    move = jnp.broadcast_to(able, (n, STOP))
    return jnp.concatenate([move, jnp.ones((n, 1), bool), target], axis=1)


def _state(rules: Rules, world: Units, looks: Looks) -> Array:
    """Global state ``[S]`` with every feature in [0, 1]."""
    # A push may leave a living unit a little outside of the map.
    place = jnp.clip(world.position * PER_MAP, 0.0, 1.0)
    types = world.types * np.float32(1 / max(len(rules.kinds) - 1, 1))
    return _join(rules, world, [looks.health, place, looks.ready, looks.kind], types)


def _raw_state(rules: Rules, world: Units, looks: Looks) -> Array:
    """Global state ``[S]`` as JaxMARL has it."""
    columns = [looks.health, world.position, world.cooldown[:, None], looks.kind]
    return _join(rules, world, columns, world.types)


def _join(rules: Rules, world: Units, columns: list[Array], types: Array) -> Array:
    """Features of living units, then every unit's team, then every unit's type."""
    alive = world.health > 0
    features = jnp.where(alive[:, None], jnp.concatenate(columns, 1), 0.0)
    teams = jnp.arange(rules.n_units) >= rules.n_allies
    return jnp.concatenate([features.reshape(-1), teams, types], dtype=jnp.float32)


def _looks(rules: Rules, world: Units) -> Looks:
    """Conditions of units as fractions, and their types as bits."""
    health = [world.health * look_up(1 / rules.full, world.types)]
    if world.shield is not None:
        per_shield = 1 / np.maximum(rules.full_shield, 1)
        health.append(world.shield * look_up(per_shield, world.types))
    wait = world.cooldown * look_up(1 / rules.table("cooldown"), world.types)
    return Looks(
        health=jnp.stack(health, 1),
        ready=jnp.clip(wait, 0.0, 1.0)[:, None],
        kind=(world.types[:, None] == np.arange(len(rules.kinds))).astype(jnp.float32),
    )
