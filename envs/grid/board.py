"""Boards of grid worlds: layout, moves, what agents see, packing of marks.

A cell is (row, column). Actions 0 to 3 move up, down, left, right.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.types import Array

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
VIEW = 5  # side of the square that an agent sees


def layout(rows: Sequence[str]) -> np.ndarray:
    """Characters ``[H, W]`` of a board; ``#`` is a wall."""
    return np.array([list(row) for row in rows])


def cells(board: np.ndarray, mark: str) -> np.ndarray:
    """Cells ``[K, 2]`` of a layout that carry any of the characters of ``mark``."""
    return np.argwhere(np.isin(board, list(mark))).astype(np.int32)


def move(board: np.ndarray, position: Array, action: Array) -> Array:
    """Cells ``[N, 2]`` after the moves among ``action`` ``[N]``; walls stop them."""
    still = jnp.array([*MOVES, (0, 0)])
    target = position + still[jnp.minimum(action, len(MOVES))]
    wall = jnp.array(board == "#")[target[:, 0], target[:, 1]]
    return jnp.where(wall[:, None], position, target)


def views(board: np.ndarray, position: Array, layers: Sequence[Array]) -> Array:
    """What agents see: walls, each layer, other agents.

    Args:
        board: characters ``[H, W]``.
        position: cells ``[N, 2]`` of the agents, who may share them.
        layers: what lies on the board, ``[H, W]`` each.

    Returns:
        ``[N, (2 + layers) * 25]`` float32 in [0, 1].
    """
    height, width = board.shape
    crowd = jnp.zeros((height, width)).at[position[:, 0], position[:, 1]].add(1.0)
    edge = VIEW // 2
    others = len(position) - 1

    def look(cell: Array) -> Array:
        alone = crowd.at[cell[0], cell[1]].add(-1.0) / max(others, 1)
        seen = jnp.stack([jnp.array(board == "#"), *layers, alone]).astype(jnp.float32)
        seen = jnp.pad(seen, ((0, 0), (edge, edge), (edge, edge)))
        window = (len(seen), VIEW, VIEW)
        return jax.lax.dynamic_slice(seen, (0, cell[0], cell[1]), window).reshape(-1)

    return jax.vmap(look)(position)


def place(board: np.ndarray, position: Array) -> Array:
    """Cells ``[N, 2]`` scaled to [0, 1]."""
    return position * (1.0 / (np.array(board.shape, np.float32) - 1))


def spread(board: np.ndarray, where: np.ndarray, marks: Array) -> Array:
    """Marks ``[K]`` of the cells ``where`` ``[K, 2]`` as a layer ``[H, W]``."""
    return jnp.zeros(board.shape).at[where[:, 0], where[:, 1]].set(marks)


def here(where: np.ndarray, position: Array) -> Array:
    """Which of the cells ``where`` every agent stands on, ``[N, K]`` bool."""
    return (position[:, None] == where[None]).all(-1)
