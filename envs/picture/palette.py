"""Colours of roles and teams, told apart by people who are colour-blind too.

Roles have Okabe and Ito's colours but for the red one, which is the enemies', and two
more. No page or film has others, so that a role looks the same everywhere.
"""

Colour = tuple[int, int, int]

ENEMY: Colour = (201, 42, 42)
ROLES: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (240, 228, 66),
    (90, 90, 90),
    (51, 34, 136),
)


def role(number: int) -> Colour:
    """Colour of a role; there are eight, which begin again after the last."""
    return ROLES[int(number) % len(ROLES)]


def ink(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 150
    return (33, 37, 41) if bright else (255, 255, 255)
