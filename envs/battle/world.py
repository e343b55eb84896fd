"""The world of a battle: its rules, what there is to see of it, how it is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.battle.maps import Battle
from envs.battle.units import Kind
from rolemarl_jax.types import Array, Bodies

# Actions 0 to 3 move, 4 stops, 5 and up attack (or heal).
STOP = 4
MOVES = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0), (0.0, 0.0))
SIZE = (32.0, 32.0)
SUBSTEPS = 8
SECONDS = 1 / 16  # a substep


# An array, or None where the rules do without.
Maybe = Any


@dataclass(frozen=True)
class Rules:
    """What is fixed in a battle.

    Attributes:
        battle: who fights, where.
        steps: the most steps of an episode.
        shields: shields are counted apart from health, and come back.
        see_enemy_actions: whether last actions of enemies are observed.
        walls_kill: units that touch the border of the map die.
        win_bonus: reward of a win, on top of 1 for the damage.
        enemies_shoot: whether the scripted team attacks.
        enemies_pick: whom it attacks, ``closest``, ``random`` or ``focus``.
    """

    battle: Battle
    steps: int
    shields: bool
    see_enemy_actions: bool
    walls_kill: bool
    win_bonus: float
    enemies_shoot: bool
    enemies_pick: Literal["closest", "random", "focus"]

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The types that may occur; a unit's type is an index into them."""
        return self.battle.kinds

    @cached_property
    def n_allies(self) -> int:
        """N; allies come first everywhere."""
        return len(self.battle.allies)

    @cached_property
    def n_enemies(self) -> int:
        """Units of the scripted team."""
        return len(self.battle.enemies)

    @cached_property
    def n_units(self) -> int:
        """U, the units of both teams."""
        return self.n_allies + self.n_enemies

    @cached_property
    def heals(self) -> bool:
        """Whether any type heals."""
        return any(kind.heals for kind in self.kinds)

    @cached_property
    def targets(self) -> tuple[int, int]:
        """Actions of an ally and of an enemy that have a target.

        A healer's are about its own team, so that a slot's meaning is the type's.
        """
        most = max(self.n_allies, self.n_enemies)
        return (most, most) if self.heals else (self.n_enemies, self.n_allies)

    @cached_property
    def n_actions(self) -> int:
        """A of an ally: moves, stop, targets."""
        return STOP + 1 + self.targets[0]

    @cached_property
    def types(self) -> np.ndarray | None:
        """Types ``[U]`` of the units, ``None`` where resets draw them."""
        if self.battle.weights:
            return None
        names = [kind.name for kind in self.kinds]
        units = self.battle.allies + self.battle.enemies
        return np.array([names.index(name) for name in units], np.uint8)

    @cached_property
    def full(self) -> np.ndarray:
        """Full health by type, shields apart if they are on."""
        return self.table("health" if self.shields else "whole")

    @cached_property
    def full_shield(self) -> np.ndarray:
        """Full shield by type."""
        return self.table("shield")

    def table(self, field: str) -> np.ndarray:
        """A property by type, ``[kinds]`` float32."""
        return np.array([getattr(kind, field) for kind in self.kinds], np.float32)


class Units(NamedTuple):
    """All that can be observed of a world. A unit lives while it has health."""

    position: Array  # [U, 2] float32
    health: Array  # [U] float32
    # Seconds until the weapon is ready, below zero since then; a healer's energy.
    cooldown: Array  # [U] float32
    action: Array  # [U] int32, the previous one; STOP before the first
    types: Array  # [U] int32
    shield: Maybe  # [U] float32 where shields are on
    step: Array  # [] int32


class Packed(NamedTuple):
    """A world in 14 bytes a unit and one for the clock.

    Health is a whole number while all damage is, which takes one byte (two if a
    type has more than 255) instead of four. Random types add a byte a unit,
    shields four, and a time limit over 255 one in all. What the scripted team
    remembers is left out: nobody observes it.
    """

    position: Array  # [U, 2] float32
    health: Array  # [U] uint8, uint16, or float32 where units heal
    cooldown: Array  # [U] float32
    action: Array  # [U] uint8
    types: Maybe  # [U] uint8 where resets draw them
    shield: Maybe  # [U] float32 where shields are on
    step: Array  # [] uint8 or uint16


def allies(rules: Rules, units: Units) -> Bodies:
    """Types, places on the map in [0, 1], and who lives, of the allies."""
    own = slice(rules.n_allies)
    place = units.position[own] / jnp.array(SIZE, jnp.float32)
    return Bodies(units.types[own], jnp.clip(place, 0, 1), units.health[own] > 0)


def look_up(table: np.ndarray, types: Array) -> Array:
    """A property of types, for units."""
    return jnp.array(table.astype(np.float32))[types]


def codec(rules: Rules) -> tuple[Callable, Callable]:
    """Functions ``Units -> Packed`` and back, lossless."""
    clock = jnp.uint8 if rules.steps < 2**8 else jnp.uint16
    health = _health_type(rules)

    def pack(units: Units) -> Packed:
        return Packed(
            position=units.position,
            health=units.health.astype(health),
            cooldown=units.cooldown,
            action=units.action.astype(jnp.uint8),
            types=units.types.astype(jnp.uint8) if rules.types is None else None,
            shield=units.shield,
            step=units.step.astype(clock),
        )

    def unpack(packed: Packed) -> Units:
        types = packed.types if rules.types is None else jnp.array(rules.types)
        return Units(
            position=packed.position,
            health=packed.health.astype(jnp.float32),
            cooldown=packed.cooldown,
            action=packed.action.astype(jnp.int32),
            types=types.astype(jnp.int32),
            shield=packed.shield,
            step=packed.step.astype(jnp.int32),
        )

    return pack, unpack


def _health_type(rules: Rules) -> np.dtype:
    """The smallest type that holds every health exactly."""
    numbers = [rules.full, rules.table("attack"), rules.table("bonus")]
    whole = all((table == np.round(table)).all() for table in numbers)
    if rules.heals or rules.shields or not whole:
        return np.dtype(np.float32)
    return np.min_scalar_type(int(rules.full.max()))
