"""Windy Maze of EOI (section 4.2): two boxes, and a wind that blows to one of them.

What the paper leaves open is settled in docs/environments.md.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.grid import board, draw, scene
from rolemarl_jax.config import Fraction, Positive, config
from rolemarl_jax.types import Array, Env, Key, Observation, Step

# The wind starts at the dotted line, here the column of the stem.
BOARD = board.layout(
    (
        "#########",
        "#L..|||R#",
        "####.####",
        "####.####",
        "####.####",
        "####.####",
        "####@####",
        "#########",
    )
)
BOXES = board.cells(BOARD, "LR")
WINDY = np.isin(BOARD, ["|", "R"])
RIGHT, OPEN = 3, 4
SCENE = scene.Scene(
    board=BOARD,
    spots=BOXES,
    start=board.cells(BOARD, "@")[0],
    n_agents=2,
    n_actions=OPEN + 1,
)


@config
class Config:
    """Windy Maze (``configs/env/windy_maze.yaml``).

    Attributes:
        name: of the environment.
        wind: chance that it turns an action into a move to the right.
        horizon: steps of every episode.
    """

    name: Literal["windy_maze"]
    wind: Fraction
    horizon: Positive


class World(NamedTuple):
    """Where agents are, and which boxes are still closed."""

    position: Array  # [N, 2] int32
    closed: Array  # [2] bool, left and right
    step: Array  # [] int32


class Packed(NamedTuple):
    """A world in 6 bytes."""

    position: Array  # [N, 2] uint8
    closed: Array  # [1] uint8, a bit a box
    step: Array  # [] uint8


def make(cfg: Config) -> Env:
    """Makes the environment.

    Raises:
        ConfigError: a horizon out of range.
    """
    return scene.make_env(
        SCENE,
        cfg.name,
        cfg.horizon,
        len(BOXES),
        reset=reset,
        step=_stepper(cfg),
        observe=_observer(cfg),
        pack=pack,
        unpack=unpack,
    )


def reset(key: Key) -> World:
    """``reset`` of the protocol; nothing is random."""
    closed = jnp.ones(len(BOXES), bool)
    return World(scene.gathered(SCENE), closed, jnp.zeros((), jnp.int32))


def _stepper(cfg: Config) -> Callable:
    """Makes ``step``."""

    def step(key: Key, world: World, actions: Array) -> tuple[World, Step]:
        windy = jnp.array(WINDY)[world.position[:, 0], world.position[:, 1]]
        blown = windy & jax.random.bernoulli(key, cfg.wind, actions.shape)
        actions = jnp.where(blown, RIGHT, actions)
        opened = board.here(BOXES, world.position) & (actions == OPEN)[:, None]
        closed = world.closed & ~opened.any(0)
        position = board.move(BOARD, world.position, actions)
        world = World(position, closed, world.step + 1)
        score = (~closed).sum()
        return world, scene.outcome(cfg.horizon, world.step, score)

    return step


def _observer(cfg: Config) -> Callable[[World], Observation]:
    """Makes ``observe``."""

    def observe(world: World) -> Observation:
        return scene.look(SCENE, cfg.horizon, world.position, world.closed, world.step)

    return observe


def _marks(world: World) -> dict[str, np.ndarray]:
    """Closed boxes as ``B``, opened ones as ``b``."""
    closed = np.asarray(world.closed)
    return {"B": BOXES[closed], "b": BOXES[~closed]}


pack, unpack = scene.codec(World, Packed, {"closed": len(BOXES)})
text, image, film, sketch = draw.painters(BOARD, _marks, ["open"])
