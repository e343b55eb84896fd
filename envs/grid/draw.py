"""Pictures of grid worlds, as text and as RGB arrays."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

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
AGENTS = ((25, 113, 194), (47, 158, 68), (194, 37, 92), (103, 65, 217))


def painters(
    board: np.ndarray, marks: Callable[[Any], Mapping[str, np.ndarray]]
) -> tuple[Callable[[Any], str], Callable[..., np.ndarray]]:
    """Functions that draw one kind of worlds, as text and as pictures.

    Args:
        board: characters ``[H, W]``.
        marks: from a world to cells ``[K, 2]`` by the character drawn there.
    """

    def as_text(world: Any) -> str:
        """The world as lines of text."""
        return text(board, marks(world), np.asarray(world.position))

    def as_image(world: Any, cell: int = 24) -> np.ndarray:
        """The world as RGB ``[H, W, 3]`` uint8, ``cell`` pixels a cell."""
        return image(board, marks(world), np.asarray(world.position), cell)

    return as_text, as_image


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
    board: np.ndarray, marks: Mapping[str, np.ndarray], agents: np.ndarray, cell: int
) -> np.ndarray:
    """The board as ``[H * cell, W * cell, 3]`` uint8; agents are discs.

    Args:
        board: characters ``[H, W]``, of which only walls and wind are kept.
        marks: cells ``[K, 2]`` by the character drawn there.
        agents: cells ``[N, 2]``; those that share a cell are drawn side by side.
        cell: pixels a cell.
    """
    shown = _marked(board, marks)
    small = np.array([[COLOURS[mark] for mark in row] for row in shown], np.uint8)
    picture = small.repeat(cell, 0).repeat(cell, 1)
    picture[::cell] = picture[:, ::cell] = (222, 226, 230)
    for disc, colour in _discs(np.asarray(agents), picture.shape[:2], cell):
        picture[disc] = colour
    return picture


def _marked(board: np.ndarray, marks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The layout with only walls, wind and the marks given."""
    shown = np.where(np.isin(board, ["#", "|"]), board, ".")
    for mark, where in marks.items():
        where = np.asarray(where)
        shown[where[:, 0], where[:, 1]] = mark
    return shown


def _discs(
    agents: np.ndarray, shape: tuple[int, ...], cell: int
) -> Iterable[tuple[np.ndarray, tuple[int, int, int]]]:
    """Pixels and colour of every agent."""
    rows, columns = np.indices(shape)
    for i, at in enumerate(agents):
        mates = [j for j, other in enumerate(agents) if (other == at).all()]
        angle = 2 * np.pi * mates.index(i) / len(mates)
        off = 0.22 * (len(mates) > 1)
        y, x = (at + 0.5 + off * np.array([np.sin(angle), np.cos(angle)])) * cell
        radius = cell * (0.32 if len(mates) == 1 else 0.2)
        disc = (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 < radius**2
        yield disc, AGENTS[i % len(AGENTS)]
