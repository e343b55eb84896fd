"""Types of units: JaxMARL's six with its numbers, and three that it lacks.

The three follow StarCraft II (units a second at speed "faster"), on the scale of
JaxMARL's six: distances are between centres, so a melee weapon reaches 2.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

ENERGY_AT_START = 50.0
ENERGY_A_SECOND = 0.7875
HEAL_A_SECOND = 12.6
ENERGY_A_HEALTH = 1 / 3
BURST_RADIUS = 2.2  # of a baneling
LINE_HALF_LENGTH = 1.4  # of a colossus' beam, across the line of fire
SHIELD_A_SECOND = 2.8
SHIELD_DELAY = 7.14  # seconds without damage before a shield comes back


@dataclass(frozen=True)
class Kind:
    """One type of unit.

    Attributes:
        name: as in maps and configuration.
        short: letter of pictures.
        health: without shield.
        shield: part of health unless shields are on.
        speed: map units a second.
        radius: of the body, in map units.
        attack: damage of a hit.
        bonus: added to it against light units.
        reach: of the weapon, in map units.
        sight: of the eyes, in map units.
        cooldown: seconds between attacks; a healer's full energy.
        light: takes the bonus damage.
        heals: targets allies, and its cooldown counts energy instead.
        splash: what else a hit damages: nothing, a burst around the attacker
            that costs its life, or a line across the line of fire.
    """

    name: str
    short: str
    health: float
    shield: float
    speed: float
    radius: float
    attack: float
    bonus: float
    reach: float
    sight: float
    cooldown: float
    _: KW_ONLY
    light: bool = False
    heals: bool = False
    splash: str = ""

    @property
    def whole(self) -> float:
        """Health and shield together."""
        return self.health + self.shield


KINDS = (
    Kind("marine", "m", 45, 0, 3.15, 0.375, 9, 0, 5, 9, 0.61, light=True),
    Kind("marauder", "M", 125, 0, 2.25, 0.5625, 10, 0, 6, 10, 1.07),
    Kind("stalker", "s", 80, 80, 4.13, 0.625, 13, 0, 6, 10, 1.87),
    Kind("zealot", "Z", 100, 50, 3.15, 0.5, 8, 0, 2, 9, 0.86, light=True),
    Kind("zergling", "z", 35, 0, 4.13, 0.375, 5, 0, 2, 8, 0.5, light=True),
    Kind("hydralisk", "h", 80, 0, 3.15, 0.625, 12, 0, 5, 9, 0.59, light=True),
    Kind("medivac", "v", 150, 0, 3.5, 0.75, 0, 0, 4, 11, 200.0, heals=True),
    Kind("baneling", "b", 30, 0, 3.5, 0.375, 16, 19, 2, 8, 1.0, splash="burst"),
    Kind("colossus", "c", 200, 150, 3.15, 1.0, 20, 10, 7, 10, 1.07, splash="line"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
JAXMARL = KINDS[:6]


def pool(names: Iterable[str]) -> tuple[Kind, ...]:
    """The types that observations tell apart: JaxMARL's six if they are enough.

    Otherwise only those that occur, so that vectors stay short.
    """
    wanted = {BY_NAME[name] for name in names}
    if wanted <= set(JAXMARL):
        return JAXMARL
    return tuple(kind for kind in KINDS if kind in wanted)
