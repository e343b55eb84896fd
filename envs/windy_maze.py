"""Windy Maze of EOI (section 4.2): two boxes, and a wind that blows to one of them.

What the paper leaves open is settled in docs/environments.md.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.grid import board, draw
from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.types import Array, Env, EnvSpec, Key, Observation, Step

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
START = board.cells(BOARD, "@")[0]
AGENTS = 2
RIGHT, OPEN = 3, 4


@config
class Config:
    """Windy Maze (``env/windy_maze.yaml``, where every key is explained)."""

    name: Literal["windy_maze"]
    wind: float
    horizon: int


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
        ConfigError: a probability or a horizon out of range.
    """
    if not 0.0 <= cfg.wind <= 1.0:
        raise ConfigError(f"env.wind: got {cfg.wind}; allowed: 0 to 1")
    if not 1 <= cfg.horizon <= 255:
        raise ConfigError(f"env.horizon: got {cfg.horizon}; allowed: 1 to 255")
    look = _observer(cfg)
    seen = jax.eval_shape(lambda key: look(reset(key)), jax.random.key(0))
    spec = EnvSpec(
        name=cfg.name,
        n_agents=AGENTS,
        n_actions=OPEN + 1,
        obs_dim=seen.obs.shape[1],
        state_dim=seen.state.shape[0],
        episode_limit=cfg.horizon,
        max_return=float(len(BOXES)),
    )
    return Env(spec, reset, _stepper(cfg), look, pack, unpack)


def reset(key: Key) -> World:
    """``reset`` of the protocol; nothing is random."""
    start = jnp.tile(jnp.array(START, jnp.int32), (AGENTS, 1))
    return World(start, jnp.ones(len(BOXES), bool), jnp.zeros((), jnp.int32))


def _stepper(cfg: Config) -> Callable:
    """Makes ``step``."""

    def step(key: Key, world: World, actions: Array) -> tuple[World, Step]:
        windy = jnp.array(WINDY)[world.position[:, 0], world.position[:, 1]]
        blown = windy & jax.random.bernoulli(key, cfg.wind, (AGENTS,))
        actions = jnp.where(blown, RIGHT, actions)
        opened = board.here(BOXES, world.position) & (actions == OPEN)[:, None]
        closed = world.closed & ~opened.any(0)
        position = board.move(BOARD, world.position, actions)
        world = World(position, closed, world.step + 1)
        end = world.step >= cfg.horizon
        score = (~closed).sum().astype(jnp.float32)
        never = jnp.zeros((), bool)
        return world, Step(jnp.where(end, score, 0.0), end, never, end & ~closed.any())

    return step


def _observer(cfg: Config) -> Callable[[World], Observation]:
    """Makes ``observe``."""

    def observe(world: World) -> Observation:
        layer = board.spread(BOARD, BOXES, world.closed)
        clock = world.step * np.float32(1 / cfg.horizon)
        where = board.place(BOARD, world.position).reshape(-1)
        return Observation(
            obs=board.views(BOARD, world.position, [layer]),
            state=jnp.concatenate([where, world.closed, clock[None]]),
            avail=jnp.ones((AGENTS, OPEN + 1), bool),
        )

    return observe


def pack(world: World) -> Packed:
    """``pack`` of the protocol."""
    return Packed(
        world.position.astype(jnp.uint8),
        jnp.packbits(world.closed),
        world.step.astype(jnp.uint8),
    )


def unpack(packed: Packed) -> World:
    """``unpack`` of the protocol."""
    return World(
        packed.position.astype(jnp.int32),
        jnp.unpackbits(packed.closed, count=len(BOXES)).astype(bool),
        packed.step.astype(jnp.int32),
    )


def text(world: World) -> str:
    """The world as lines of text."""
    return draw.text(BOARD, _marks(world), np.asarray(world.position))


def image(world: World, cell: int = 24) -> np.ndarray:
    """The world as RGB ``[H, W, 3]`` uint8, ``cell`` pixels a cell."""
    return draw.image(BOARD, _marks(world), np.asarray(world.position), cell)


def _marks(world: World) -> dict[str, np.ndarray]:
    """Closed boxes as ``B``, opened ones as ``b``."""
    closed = np.asarray(world.closed)
    return {"B": BOXES[closed], "b": BOXES[~closed]}
