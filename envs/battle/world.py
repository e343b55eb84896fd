"""The world of a battle: what there is to see of it, and how it is kept in replay."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rolemarl_jax.types import Array

# Actions 0 to 3 move, 4 stops, 5 and up attack.
STOP = 4
MOVES = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True)
class Rules:
    """What is fixed in a battle. Arrays of unit properties are by type.

    Attributes:
        n_allies, n_enemies: units of either team; allies come first everywhere.
        types: ids ``[U]`` of the units, or ``None`` where resets draw them.
        sight, reach: distances that a unit sees and attacks.
        health, cooldown: full health, and seconds between attacks.
        size: width and height of the map.
        steps: the most steps of an episode.
        see_enemy_actions: whether last actions of enemies are observed.
    """

    n_allies: int
    n_enemies: int
    types: np.ndarray | None
    sight: np.ndarray
    reach: np.ndarray
    health: np.ndarray
    cooldown: np.ndarray
    size: tuple[float, float]
    steps: int
    see_enemy_actions: bool

    @property
    def n_units(self) -> int:
        """U, the units of both teams."""
        return self.n_allies + self.n_enemies

    @property
    def n_actions(self) -> int:
        """A of an ally: moves, stop, and an attack for every enemy."""
        return STOP + 1 + self.n_enemies


class Units(NamedTuple):
    """All that can be observed of a world. A unit lives while it has health."""

    position: Array  # [U, 2] float32
    health: Array  # [U] float32
    cooldown: Array  # [U] float32, seconds until the weapon is ready; may be negative
    action: Array  # [U] int32, the previous one; STOP before the first
    types: Array  # [U] uint8
    step: Array  # [] int32


class Packed(NamedTuple):
    """A world in 17 bytes a unit and one for the clock.

    Random types take one byte more a unit, time limits over 255 one more in all.
    Whatever the scripted enemies remember is left out: nobody observes it.
    """

    position: Array  # [U, 2] float32
    health: Array  # [U] float32
    cooldown: Array  # [U] float32
    action: Array  # [U] uint8
    types: Array | None  # [U] uint8, where resets draw them
    step: Array  # [] uint8 or uint16


def codec(rules: Rules) -> tuple[Callable, Callable]:
    """Functions ``Units -> Packed`` and back, lossless."""
    clock = jnp.uint8 if rules.steps < 2**8 else jnp.uint16

    def pack(units: Units) -> Packed:
        return Packed(
            position=units.position,
            health=units.health,
            cooldown=units.cooldown,
            action=units.action.astype(jnp.uint8),
            types=units.types if rules.types is None else None,
            step=units.step.astype(clock),
        )

    def unpack(packed: Packed) -> Units:
        types = packed.types if rules.types is None else jnp.array(rules.types)
        return Units(
            position=packed.position,
            health=packed.health,
            cooldown=packed.cooldown,
            action=packed.action.astype(jnp.int32),
            types=types,
            step=packed.step.astype(jnp.int32),
        )

    return pack, unpack
