"""What units did in each step of a battle, told from its worlds."""

from typing import Any, NamedTuple

import numpy as np

from envs.battle import units as unit
from envs.battle.world import SECONDS, STOP, SUBSTEPS, Rules, Units

NAMES = ("none", "move", "aim", "shot", "heal", "burst", "beam")
NONE, MOVE, AIM, SHOT, HEAL, BURST, BEAM = range(len(NAMES))


class Deeds(NamedTuple):
    """What led to each of T worlds; nothing led to the first.

    Attributes:
        deed: index ``[T, U]`` into ``NAMES``; ``aim`` is an order without effect.
        target: unit ``[T, U]`` that it was about, -1 where there is none.
    """

    deed: np.ndarray
    target: np.ndarray


def deeds(rules: Rules, units: Units) -> Deeds:
    """Deeds of the units of T worlds in a row, leaves ``[T, U, ...]`` of NumPy."""
    heals = np.array([kind.heals for kind in rules.kinds])[units.types]
    splash = np.array([kind.splash for kind in rules.kinds])[units.types]
    gained = np.diff(units.cooldown, axis=0, prepend=units.cooldown[:1])
    fired = (gained > 0) & ~heals
    done = np.select(
        [
            units.action < STOP,
            units.action == STOP,
            heals & _spent(rules, units, gained),
            fired & (splash == "burst"),
            fired & (splash == "line"),
            fired,
        ],
        [MOVE, NONE, HEAL, BURST, BEAM, SHOT],
        AIM,
    )
    lived = np.zeros(units.health.shape, bool)
    lived[1:] = units.health[:-1] > 0
    deed = np.where(lived, done, NONE)
    about = (deed >= AIM) & (units.action > STOP)
    return Deeds(deed, np.where(about, _targets(rules, units.action, heals), -1))


def _spent(rules: Rules, units: Units, gained: np.ndarray) -> np.ndarray:
    """Whether healers `[T, U]` paid for one substep of healing at least.

    All that they may gain in a step pays for one substep, so energy can have grown.
    What is lost at the cap of energy is no price.
    """
    price = unit.HEAL_A_SECOND * SECONDS * unit.ENERGY_A_HEALTH
    grown = SUBSTEPS * unit.ENERGY_A_SECOND * SECONDS
    below = units.cooldown < rules.table("cooldown")[units.types]
    return below & (gained < grown - price / 2)


def _targets(rules: Rules, action: Any, heals: np.ndarray) -> np.ndarray:
    """The units ``[T, U]`` that actions with a target are about."""
    n, every = rules.n_allies, rules.n_units
    slot = action - STOP - 1
    of_allies = np.where(heals, slot, n + slot)
    of_enemies = np.where(heals, every - 1 - slot, n - 1 - slot)
    return np.where(np.arange(every) < n, of_allies, of_enemies)
