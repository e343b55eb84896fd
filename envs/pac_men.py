"""Pac-Men of EOI (section 4.1): four rooms, four agents, one reward at the end.

What the paper leaves open is settled in docs/environments.md. ``pac_men_easy``
(appendix A.4) is the same world with dots in the bottom room only.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.grid import board, draw, scene
from rolemarl_jax.config import ConfigError, Positive, config
from rolemarl_jax.types import Array, Env, Key, Observation, Step

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
EAT = 4
SCENE = scene.Scene(
    board=BOARD,
    spots=CELLS,
    start=board.cells(BOARD, "@")[0],
    n_agents=4,
    n_actions=EAT + 1,
)


@config
class Config:
    """Pac-Men (``configs/env/pac_men.yaml``).

    Attributes:
        name: of the environment.
        rooms: that have dots.
        dots: a room, on random cells.
        horizon: steps of every episode.
    """

    name: Literal["pac_men", "pac_men_easy"]
    rooms: tuple[Literal["top", "bottom", "left", "right"], ...]
    dots: Positive
    horizon: Positive


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
    return scene.make_env(
        SCENE,
        cfg.name,
        cfg.horizon,
        total,
        reset=_resetter(cfg),
        step=_stepper(cfg, total),
        observe=_observer(cfg),
        pack=pack,
        unpack=unpack,
    )


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


def _resetter(cfg: Config) -> Callable[[Key], World]:
    """Makes ``reset``: ``dots`` random cells of every room that has any."""
    rooms = [BOARD[tuple(CELLS.T)] == ROOMS[room] for room in cfg.rooms]

    def reset(key: Key) -> World:
        draws = jax.random.uniform(key, (len(CELLS),))
        dots = jnp.zeros(len(CELLS), bool)
        for room in rooms:
            rank = jnp.argsort(jnp.argsort(jnp.where(room, draws, 2.0)))
            dots |= rank < cfg.dots
        return World(scene.gathered(SCENE), dots, jnp.zeros((), jnp.int32))

    return reset


def _stepper(cfg: Config, total: int) -> Callable:
    """Makes ``step``; ``total`` is the number of dots at the start."""

    def step(key: Key, world: World, actions: Array) -> tuple[World, Step]:
        eaten = board.here(CELLS, world.position) & (actions == EAT)[:, None]
        dots = world.dots & ~eaten.any(0)
        position = board.move(BOARD, world.position, actions)
        world = World(position, dots, world.step + 1)
        score = total - dots.sum()
        return world, scene.outcome(cfg.horizon, world.step, score)

    return step


def _observer(cfg: Config) -> Callable[[World], Observation]:
    """Makes ``observe``."""

    def observe(world: World) -> Observation:
        return scene.look(SCENE, cfg.horizon, world.position, world.dots, world.step)

    return observe


def _marks(world: World) -> dict[str, np.ndarray]:
    """Dots that are left."""
    return {"o": CELLS[np.asarray(world.dots)]}


pack, unpack = scene.codec(World, Packed, {"dots": len(CELLS)})
text, image, film, sketch = draw.painters(BOARD, _marks, ["eat"])
