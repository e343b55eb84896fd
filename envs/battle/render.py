"""Pictures of battles: types, health, reach, deeds, and roles as colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.battle.deeds import AIM, BEAM, BURST, HEAL, MOVE, NONE, deeds
from envs.battle.units import BURST_RADIUS, LINE_HALF_LENGTH
from envs.battle.world import MOVES, SIZE, Rules, Units
from envs.picture import palette

FLOOR, ROCK, INK, DEAD = (248, 249, 250), (52, 58, 64), (33, 37, 41), (173, 181, 189)
GOOD, SHIELD, ENERGY = (64, 192, 87), (34, 184, 207), (190, 75, 219)
BLAST, HEALING = (250, 176, 5), (32, 201, 151)
SMOOTH = 2  # pixels drawn for each pixel shown, each way
HEADER = 0.06  # of the height
BORDER = 3.0  # map units of floor around all units
LEAST = 0.45  # map units, radius of the smallest disc


class Window(NamedTuple):
    """The square of the map that is shown, in map units.

    Attributes:
        left: its left border.
        low: its lower border.
        side: its width and height.
    """

    left: float = 0.0
    low: float = 0.0
    side: float = SIZE[0]


WHOLE = Window()


class Canvas:
    """A drawing in map units."""

    def __init__(self, size: int, window: Window) -> None:
        """Makes an empty floor of ``size`` pixels a side, below a header."""
        self.window = window
        self.top = round(size * HEADER) * SMOOTH
        self.scale = size * SMOOTH / window.side
        shape = (size * SMOOTH, size * SMOOTH + self.top)
        self.image = Image.new("RGB", shape, FLOOR)
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        self.text_height = self.top / 2.4

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a place."""
        left, low, side = self.window
        right, down = float(x) - left, low + side - float(y)
        return right * self.scale, self.top + down * self.scale

    def disc(self, centre: Any, radius: float, **ink: object) -> None:
        """A filled or outlined circle."""
        x, y = self.at(*centre)
        r = radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), **ink)  # type: ignore[arg-type]

    def box(self, low: tuple, high: tuple, colour: tuple) -> None:
        """A filled rectangle between two corners."""
        (left, bottom), (right, top) = self.at(*low), self.at(*high)
        self.draw.rectangle((left, top, max(left, right), max(top, bottom)), colour)

    def line(self, a: Any, b: Any, colour: tuple, width: float) -> None:
        """A line ``width`` map units thick."""
        pixels = max(1, round(width * self.scale))
        self.draw.line((*self.at(*a), *self.at(*b)), fill=colour, width=pixels)

    def word(self, centre: Any, text: str, height: float, colour: tuple) -> None:
        """A few letters around a place."""
        font = ImageFont.load_default(height * self.scale)
        self.draw.text(self.at(*centre), text, colour, font, anchor="mm")

    def title(self, text: str) -> None:
        """The line on top."""
        font = ImageFont.load_default(self.text_height)
        self.draw.rectangle((0, 0, self.image.width, self.top), INK)
        at = (self.top / 3, self.top / 2)
        self.draw.text(at, text, "white", font, anchor="lm")

    def pixels(self) -> np.ndarray:
        """RGB ``[H, W, 3]`` uint8."""
        width, height = (side // SMOOTH for side in self.image.size)
        small = self.image.resize((width, height), Image.Resampling.LANCZOS)
        return np.asarray(small)


def image(
    rules: Rules,
    now: Units,
    before: Any = None,
    roles: np.ndarray | None = None,
    size: int = 480,
    window: Window = WHOLE,
) -> np.ndarray:
    """A battle as RGB ``[H, W, 3]`` uint8.

    Allies have the colours of their roles, enemies are red. A faint ring is the reach
    of a unit's weapon, a line a shot, a turquoise one healing, a thin one an order
    without effect in this step, a yellow disc a baneling's burst, a yellow bar a
    colossus' beam.

    Args:
        rules: the battle.
        now: its units.
        before: the units one step ago, if there are; what they did is drawn.
        roles: role ``[N]`` of every ally.
        size: pixels of the width.
        window: what of the map is shown.
    """
    now = jax.tree.map(np.asarray, now)
    canvas = Canvas(size, window)
    _rock(canvas, rules)
    team = np.zeros(rules.n_allies, int) if roles is None else np.asarray(roles)
    colours = [palette.role(i) for i in team] + [palette.ENEMY] * rules.n_enemies
    for i in np.argsort(now.health > 0):
        _ring(canvas, rules, now, i, colours[i])
    if before is not None:
        two = jax.tree.map(lambda *x: np.stack(x), before, now)
        done = deeds(rules, two)
        for i in range(rules.n_units):
            _deed(canvas, now, i, (done.deed[1, i], done.target[1, i]), colours[i])
    for i in np.argsort(now.health > 0, kind="stable"):
        _body(canvas, rules, now, i, colours[i])
    for i in np.flatnonzero(now.health > 0):
        _bars(canvas, rules, now, i)
    alive, n = now.health > 0, rules.n_allies
    canvas.title(
        f"step {int(now.step)}   allies {alive[:n].sum()}/{n}   "
        f"enemies {alive[n:].sum()}/{rules.n_enemies}   "
        + "  ".join(f"{kind.short} {kind.name}" for kind in _present(rules, now))
    )
    return canvas.pixels()


def frames(
    rules: Rules,
    steps: Sequence[Units],
    roles: Sequence[np.ndarray] | np.ndarray | None = None,
    size: int = 480,
) -> list[np.ndarray]:
    """Pictures of the ``steps`` of a battle, zoomed in on all that happens.

    ``roles`` are as in ``image``, for every step.
    """
    window = around(np.concatenate([np.asarray(now.position) for now in steps]))
    past = [None, *steps]
    given = [None] * len(steps) if roles is None else roles
    return [
        image(rules, now, past[t], given[t], size, window)
        for t, now in enumerate(steps)
    ]


def around(places: np.ndarray) -> Window:
    """The smallest square that holds ``places`` ``[K, 2]`` and some floor."""
    low, high = places.min(0) - BORDER, places.max(0) + BORDER
    side = float((high - low).max())
    left, bottom = (low + high - side) / 2
    return Window(float(left), float(bottom), side)


def _present(rules: Rules, now: Units) -> list:
    """Types that this battle has."""
    return [rules.kinds[i] for i in sorted(set(now.types.tolist()))]


def _rock(canvas: Canvas, rules: Rules) -> None:
    """Rock above and below the gap."""
    rock = rules.battle.choke
    if rock is not None:
        canvas.box((rock.left, 0), (rock.right, rock.low), ROCK)
        canvas.box((rock.left, rock.high), (rock.right, SIZE[1]), ROCK)


def _ring(canvas: Canvas, rules: Rules, now: Units, i: Any, colour: tuple) -> None:
    """The reach of a living unit's weapon."""
    if now.health[i] > 0:
        reach = rules.kinds[now.types[i]].reach
        canvas.disc(now.position[i], reach, outline=(*colour, 40), width=SMOOTH)


def _body(canvas: Canvas, rules: Rules, now: Units, i: Any, colour: tuple) -> None:
    """A unit: disc and letter, or a cross where one died."""
    kind, place = rules.kinds[now.types[i]], now.position[i]
    if now.health[i] <= 0:
        for side in (-1, 1):
            arm = np.array([0.25, 0.25 * side])
            canvas.line(place - arm, place + arm, DEAD, 0.08)
        return
    radius = max(kind.radius, LEAST)
    canvas.disc(place, radius, fill=colour, outline=INK)
    canvas.word(place, kind.short, 1.3 * radius, palette.ink(colour))


def _bars(canvas: Canvas, rules: Rules, now: Units, i: Any) -> None:
    """Health, shield and energy above a unit."""
    kind, place = rules.kinds[now.types[i]], now.position[i]
    radius = max(kind.radius, LEAST)
    bars = [(now.health[i] / rules.full[now.types[i]], GOOD)]
    if now.shield is not None and kind.shield:
        bars.append((now.shield[i] / kind.shield, SHIELD))
    if kind.heals:
        bars.append((now.cooldown[i] / kind.cooldown, ENERGY))
    for level, (part, ink) in enumerate(bars):
        x, y = place[0] - radius, place[1] + radius + 0.08 + 0.18 * level
        width = 2 * radius * min(max(float(part), 0.0), 1.0)
        canvas.box((x, y), (x + 2 * radius, y + 0.14), DEAD)
        canvas.box((x, y), (x + width, y + 0.14), ink)


def _deed(
    canvas: Canvas, now: Units, i: int, done: tuple[int, int], colour: tuple
) -> None:
    """What a unit did in the step before, and to whom."""
    deed, target = done
    place = now.position[i]
    if deed == NONE:
        return
    if deed == MOVE:
        way = place + 1.0 * np.array(MOVES[now.action[i]])
        canvas.line(place, way, (*colour, 150), 0.12)
        return
    other = now.position[target]
    if deed == BURST:
        canvas.disc(
            place, BURST_RADIUS, fill=(*BLAST, 130), outline=BLAST, width=SMOOTH
        )
    elif deed == HEAL:
        canvas.line(place, other, (*HEALING, 230), 0.25)
    elif deed == AIM:
        canvas.line(place, other, (*colour, 70), 0.06)
    else:
        canvas.line(place, other, (*colour, 200), 0.16)
    if deed == BEAM:
        away = (other - place) / (np.linalg.norm(other - place) + 1e-6)
        across = np.array([-away[1], away[0]]) * LINE_HALF_LENGTH
        canvas.line(other - across, other + across, (*BLAST, 200), 0.3)
