"""Pictures of grid worlds, as text and as RGB arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.picture import palette

COLOURS = {
    "#": (52, 58, 64),
    ".": (241, 243, 245),
    "|": (214, 228, 242),
    "o": (250, 176, 5),
    "B": (146, 84, 22),
    "b": (222, 196, 160),
    "^": (224, 49, 49),
    "~": (51, 154, 240),
}
RIM = (33, 37, 41)
NAMES = {
    "#": "wall",
    ".": "floor",
    "|": "wind",
    "o": "dot",
    "B": "closed box",
    "b": "open box",
    "^": "fire",
    "~": "river",
}
ROUND = "o"  # drawn as discs where there is room
MOVED = ("up", "down", "left", "right")  # names of `board.MOVES`


class Painters(NamedTuple):
    """Functions that show one kind of worlds.

    Attributes:
        text: a world as lines of text.
        image: a world as RGB ``[H, W, 3]`` uint8.
        film: worlds in a row, leaves ``[T, ...]``, as RGB pictures.
        sketch: worlds in a row as plain data to draw them from.
    """

    text: Callable[[Any], str]
    image: Callable[..., np.ndarray]
    film: Callable[..., list[np.ndarray]]
    sketch: Callable[[Any, Any], dict[str, Any]]


def painters(
    board: np.ndarray,
    marks: Callable[[Any], Mapping[str, np.ndarray]],
    special: Sequence[str],
    counters: Sequence[str] = (),
) -> Painters:
    """Functions that show one kind of worlds.

    Args:
        board: characters ``[H, W]``.
        marks: from a world to cells ``[K, 2]`` by the character drawn there.
        special: names of the actions after the moves.
        counters: fields of a world that are numbers to be told.
    """

    def as_text(world: Any) -> str:
        """The world as lines of text."""
        return text(board, marks(world), np.asarray(world.position))

    def as_image(
        world: Any, cell: int = 24, roles: np.ndarray | None = None
    ) -> np.ndarray:
        """The world as RGB ``[H, W, 3]`` uint8, ``cell`` pixels a cell.

        Agents have the colours of their ``roles`` ``[N]``, or one each.
        """
        return image(board, marks(world), np.asarray(world.position), cell, roles)

    def as_film(
        _cfg: Any, worlds: Any, roles: np.ndarray | None = None, size: int = 480
    ) -> list[np.ndarray]:
        """Worlds in a row, about ``size`` pixels wide; ``roles`` is ``[T, N]``."""
        cell = max(8, size // board.shape[1])
        given = [None] * len(worlds.step) if roles is None else roles
        pairs = zip(_each(worlds), given, strict=True)
        return [as_image(world, cell, role) for world, role in pairs]

    def as_sketch(_cfg: Any, worlds: Any) -> dict[str, Any]:
        """Worlds in a row, as docs/environments.md describes sketches."""
        shown = np.stack([_marked(board, marks(world)) for world in _each(worlds)])
        told = {name: np.asarray(getattr(worlds, name)) for name in counters}
        agents = np.asarray(worlds.position)
        return {
            **sketch(board, shown, agents),
            "actions": [*MOVED, *special],
            "counters": told,
        }

    return Painters(as_text, as_image, as_film, as_sketch)


def _each(worlds: Any) -> Iterator[Any]:
    """Worlds one by one, of leaves ``[T, ...]``."""
    whole = jax.tree.map(np.asarray, worlds)
    for t in range(len(whole.step)):
        yield jax.tree.map(lambda leaf, t=t: leaf[t], whole)


def sketch(board: np.ndarray, shown: np.ndarray, agents: np.ndarray) -> dict[str, Any]:
    """Boards ``[T, H, W]`` of characters and agents ``[T, N, 2]`` as plain data.

    Walls and wind are ground; whatever else ever lies on a cell is a thing.
    """
    height, width = board.shape
    kept = [mark for mark in COLOURS if mark not in "#.|"]
    where = np.argwhere(np.isin(shown, kept).any(0))
    which = np.array([kept.index(m) if m in kept else -1 for m in shown.flat])
    seats, radii = zip(*(_seats(at) for at in agents), strict=True)
    everywhere = np.ones(agents.shape[:2], int)
    return {
        "view": [0.0, 0.0, float(width), float(height)],
        "ground": [
            {"name": NAMES[m], "colour": COLOURS[m], "boxes": _boxes(board == m)}
            for m in "#|"
            if (board == m).any()
        ],
        "things": {
            "names": [NAMES[mark] for mark in kept],
            "colours": [COLOURS[mark] for mark in kept],
            "round": [mark in ROUND for mark in kept],
            "at": _middle(where, height),
            "which": which.reshape(shown.shape)[:, where[:, 0], where[:, 1]],
        },
        "kinds": [{"name": "agent", "short": "", "reach": 0.0, "splash": 0.0}],
        "units": {
            "team": everywhere[0] * 0,
            "kind": everywhere[0] * 0,
            "at": _middle(np.stack(seats) - 0.5, height),
            "radius": np.stack(radii),
            "alive": everywhere.astype(bool),
            "deed": everywhere * 0,
            "target": everywhere * 0 - 1,
        },
        "bars": {},
        "deeds": ["none"],
        "colours": {"roles": palette.ROLES, "enemy": palette.ENEMY},
    }


def _middle(cells: np.ndarray, height: int) -> np.ndarray:
    """Middles of cells ``[..., 2]`` as x to the right and y upwards."""
    return np.stack([cells[..., 1] + 0.5, height - cells[..., 0] - 0.5], axis=-1)


def _boxes(mask: np.ndarray) -> list[list[int]]:
    """Rectangles ``[x, y, width, height]``, one for each run of cells in a row."""
    boxes = []
    for row, line in enumerate(mask):
        steps = np.flatnonzero(np.diff([0, *line.astype(int), 0]))
        for left, right in steps.reshape(-1, 2).tolist():
            boxes.append([left, len(mask) - row - 1, right - left, 1])
    return boxes


def text(board: np.ndarray, marks: Mapping[str, np.ndarray], agents: np.ndarray) -> str:
    """The board as lines of text; agents are digits, ``*`` where they share a cell.

    Args:
        board: characters ``[H, W]``, of which only walls and wind are kept.
        marks: cells ``[K, 2]`` by the character drawn there.
        agents: cells ``[N, 2]``.
    """
    shown = _marked(board, marks)
    for i, (row, column) in enumerate(agents):
        taken = str(shown[row, column]) in "*0123456789"
        shown[row, column] = "*" if taken else str(i)
    return "\n".join("".join(row) for row in shown)


def image(
    board: np.ndarray,
    marks: Mapping[str, np.ndarray],
    agents: np.ndarray,
    cell: int,
    roles: np.ndarray | None = None,
) -> np.ndarray:
    """The board as ``[H * cell, W * cell, 3]`` uint8; agents are discs.

    Args:
        board: characters ``[H, W]``, of which only walls and wind are kept.
        marks: cells ``[K, 2]`` by the character drawn there.
        agents: cells ``[N, 2]``; those that share a cell are drawn side by side.
        cell: pixels a cell.
        roles: ``[N]``, the agents' own numbers if not given.
    """
    shown = _marked(board, marks)
    small = np.array([[COLOURS[mark] for mark in row] for row in shown], np.uint8)
    picture = small.repeat(cell, 0).repeat(cell, 1)
    picture[::cell] = picture[:, ::cell] = (222, 226, 230)
    rows, columns = np.indices(picture.shape[:2])
    team = np.arange(len(agents)) if roles is None else roles
    for (y, x), radius, role in zip(*_seats(np.asarray(agents)), team, strict=True):
        away = np.hypot(rows + 0.5 - y * cell, columns + 0.5 - x * cell)
        # A dark rim, since floors may have the colour of a role.
        picture[away < radius * cell] = RIM
        picture[away < radius * cell - max(1, cell // 20)] = palette.role(int(role))
    return picture


def _marked(board: np.ndarray, marks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The layout with only walls, wind and the marks given."""
    shown = np.where(np.isin(board, ["#", "|"]), board, ".")
    for mark, where in marks.items():
        where = np.asarray(where)
        shown[where[:, 0], where[:, 1]] = mark
    return shown


def _seats(agents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles ``[N, 2]`` and radii ``[N]`` of the agents' discs, in cells."""
    middles, radii = [], []
    for i, at in enumerate(agents):
        mates = [j for j, other in enumerate(agents) if (other == at).all()]
        angle = 2 * np.pi * mates.index(i) / len(mates)
        off = 0.22 * (len(mates) > 1)
        middles.append(at + 0.5 + off * np.array([np.sin(angle), np.cos(angle)]))
        radii.append(0.32 if len(mates) == 1 else 0.2)
    return np.array(middles), np.array(radii)
