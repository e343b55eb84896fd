"""Pac-Men of EOI (section 4.1): four rooms, four agents, one reward at the end.

What the paper leaves open is settled in docs/environments.md. ``pac_men_easy``
(appendix A.4) is the same world with dots in the bottom room only.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.grid import board, draw
from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.types import Array, Env, EnvSpec, Key, Observation, Step

BOARD = board.layout(
    (
        "###################",
        "#######ttttt#######",
        "#######ttttt#######",
        "#######ttttt#######",
        "#######ttttt#######",
        "#########.#########",
        "#########.#########",
        "#llll####.####rrrr#",
        "#llll####.####rrrr#",
        "#llll....@....rrrr#",
        "#llll####.####rrrr#",
        "#llll##bbbbb##rrrr#",
        "#######bbbbb#######",
        "#######bbbbb#######",
        "#######bbbbb#######",
        "###################",
    )
)
ROOMS = {"top": "t", "bottom": "b", "left": "l", "right": "r"}
CELLS = board.cells(BOARD, "".join(ROOMS.values()))
START = board.cells(BOARD, "@")[0]
AGENTS = 4
EAT = 4


@config
class Config:
    """Pac-Men (``env/pac_men.yaml``, where every key is explained)."""

    name: Literal["pac_men", "pac_men_easy"]
    rooms: tuple[Literal["top", "bottom", "left", "right"], ...]
    dots: int
    horizon: int


class World(NamedTuple):
    """Where agents are, and which cells of the rooms have a dot."""

    position: Array  # [N, 2] int32
    dots: Array  # [K] bool
    step: Array  # [] int32


class Packed(NamedTuple):
    """A world in 19 bytes."""

    position: Array  # [N, 2] uint8
    dots: Array  # [K / 8] uint8, a bit a cell
    step: Array  # [] uint8


def make(cfg: Config) -> Env:
    """Makes the environment.

    Raises:
        ConfigError: no room, or more dots than a room has cells, or a horizon
            out of range.
    """
    _check(cfg)
    total = cfg.dots * len(cfg.rooms)
    look = _observer(cfg)
    world = jax.eval_shape(_resetter(cfg), jax.random.key(0))
    seen = jax.eval_shape(look, world)
    spec = EnvSpec(
        name=cfg.name,
        n_agents=AGENTS,
        n_actions=EAT + 1,
        obs_dim=seen.obs.shape[1],
        state_dim=seen.state.shape[0],
        episode_limit=cfg.horizon,
        max_return=float(total),
    )
    return Env(spec, _resetter(cfg), _stepper(cfg, total), look, pack, unpack)


def _check(cfg: Config) -> None:
    """Refuses what cannot be played."""
    if not cfg.rooms or len(set(cfg.rooms)) < len(cfg.rooms):
        raise ConfigError(
            f"env.rooms: got {list(cfg.rooms)}; allowed: different rooms of "
            f"{', '.join(ROOMS)}"
        )
    most = min(len(board.cells(BOARD, ROOMS[room])) for room in cfg.rooms)
    if not 1 <= cfg.dots <= most:
        raise ConfigError(f"env.dots: got {cfg.dots}; allowed: 1 to {most}")
    if not 1 <= cfg.horizon <= 255:
        raise ConfigError(f"env.horizon: got {cfg.horizon}; allowed: 1 to 255")


def _resetter(cfg: Config) -> Callable[[Key], World]:
    """Makes ``reset``: ``dots`` random cells of every room that has any."""
    rooms = [BOARD[tuple(CELLS.T)] == ROOMS[room] for room in cfg.rooms]

    def reset(key: Key) -> World:
        draws = jax.random.uniform(key, (len(CELLS),))
        dots = jnp.zeros(len(CELLS), bool)
        for room in rooms:
            rank = jnp.argsort(jnp.argsort(jnp.where(room, draws, 2.0)))
            dots |= rank < cfg.dots
        start = jnp.tile(jnp.array(START, jnp.int32), (AGENTS, 1))
        return World(start, dots, jnp.zeros((), jnp.int32))

    return reset


def _stepper(cfg: Config, total: int) -> Callable:
    """Makes ``step``; ``total`` is the number of dots at the start."""

    def step(key: Key, world: World, actions: Array) -> tuple[World, Step]:
        eaten = board.here(CELLS, world.position) & (actions == EAT)[:, None]
        dots = world.dots & ~eaten.any(0)
        position = board.move(BOARD, world.position, actions)
        world = World(position, dots, world.step + 1)
        end = world.step >= cfg.horizon
        score = (total - dots.sum()).astype(jnp.float32)
        never = jnp.zeros((), bool)
        return world, Step(jnp.where(end, score, 0.0), end, never, end & ~dots.any())

    return step


def _observer(cfg: Config) -> Callable[[World], Observation]:
    """Makes ``observe``."""

    def observe(world: World) -> Observation:
        layer = board.spread(BOARD, CELLS, world.dots)
        clock = world.step * np.float32(1 / cfg.horizon)
        where = board.place(BOARD, world.position).reshape(-1)
        return Observation(
            obs=board.views(BOARD, world.position, [layer]),
            state=jnp.concatenate([where, world.dots, clock[None]]),
            avail=jnp.ones((AGENTS, EAT + 1), bool),
        )

    return observe


def pack(world: World) -> Packed:
    """``pack`` of the protocol."""
    return Packed(
        world.position.astype(jnp.uint8),
        jnp.packbits(world.dots),
        world.step.astype(jnp.uint8),
    )


def unpack(packed: Packed) -> World:
    """``unpack`` of the protocol."""
    return World(
        packed.position.astype(jnp.int32),
        jnp.unpackbits(packed.dots, count=len(CELLS)).astype(bool),
        packed.step.astype(jnp.int32),
    )


def text(world: World) -> str:
    """The world as lines of text."""
    marks = {"o": CELLS[np.asarray(world.dots)]}
    return draw.text(BOARD, marks, np.asarray(world.position))


def image(world: World, cell: int = 24) -> np.ndarray:
    """The world as RGB ``[H, W, 3]`` uint8, ``cell`` pixels a cell."""
    marks = {"o": CELLS[np.asarray(world.dots)]}
    return draw.image(BOARD, marks, np.asarray(world.position), cell)
