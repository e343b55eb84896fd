"""Firefighters of EOI (section 4.3): two fires, two rivers, one small water tank.

What the paper leaves open is settled in docs/environments.md.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.grid import board, draw, scene
from rolemarl_jax.config import ConfigError, Natural, Positive, config
from rolemarl_jax.types import Array, Env, Key, Observation, Step

BOARD = board.layout(
    (
        "###############",
        "#.............#",
        "#.fff.......~~#",
        "#.f@f.......~~#",
        "#.............#",
        "#.............#",
        "#.............#",
        "#.............#",
        "#.............#",
        "#....ggg......#",
        "#....ggg......#",
        "#.............#",
        "#.~~..........#",
        "#.~~..........#",
        "###############",
    )
)
FIRES = board.cells(BOARD, "fg@")
RIVERS = board.cells(BOARD, "~")
SPRAY, PUMP = 4, 5
SCENE = scene.Scene(
    board=BOARD,
    spots=FIRES,
    start=board.cells(BOARD, "@")[0],
    n_agents=4,
    n_actions=PUMP + 1,
    placed=False,
)


@config
class Config:
    """Firefighters (``configs/env/firefighters.yaml``).

    Attributes:
        name: of the environment.
        water: units in the shared tank at the start; a fire takes one.
        horizon: steps of every episode.
    """

    name: Literal["firefighters"]
    water: Natural
    horizon: Positive


class World(NamedTuple):
    """Where agents are, what burns, and the water in the tank."""

    position: Array  # [N, 2] int32
    fires: Array  # [K] bool
    tank: Array  # [] int32
    step: Array  # [] int32


class Packed(NamedTuple):
    """A world in 13 bytes."""

    position: Array  # [N, 2] uint8
    fires: Array  # [K / 8] uint8, a bit a cell
    tank: Array  # [] uint16
    step: Array  # [] uint8


def make(cfg: Config) -> Env:
    """Makes the environment.

    Raises:
        ConfigError: water or a horizon out of range.
    """
    if not 0 <= cfg.water <= 1000:
        raise ConfigError(f"env.water: got {cfg.water}; allowed: 0 to 1000")
    return scene.make_env(
        SCENE,
        cfg.name,
        cfg.horizon,
        len(FIRES),
        reset=_resetter(cfg),
        step=_stepper(cfg),
        observe=_observer(cfg),
        pack=pack,
        unpack=unpack,
    )


def _resetter(cfg: Config) -> Callable[[Key], World]:
    """Makes ``reset``; nothing is random."""

    def reset(key: Key) -> World:
        fires, tank = jnp.ones(len(FIRES), bool), jnp.full((), cfg.water, jnp.int32)
        return World(scene.gathered(SCENE), fires, tank, jnp.zeros((), jnp.int32))

    return reset


def _stepper(cfg: Config) -> Callable:
    """Makes ``step``: all pump, then agents spray one after another, then all move."""

    def step(key: Key, world: World, actions: Array) -> tuple[World, Step]:
        wet = board.here(RIVERS, world.position).any(-1)
        tank = world.tank + (wet & (actions == PUMP)).sum()
        aims = board.here(FIRES, world.position) & (actions == SPRAY)[:, None]
        fires = world.fires
        for aim in aims:
            hit = fires & aim & (tank > 0)
            fires, tank = fires & ~hit, tank - hit.sum()
        position = board.move(BOARD, world.position, actions)
        world = World(position, fires, tank, world.step + 1)
        score = (~fires).sum()
        return world, scene.outcome(cfg.horizon, world.step, score)

    return step


def _observer(cfg: Config) -> Callable[[World], Observation]:
    """Makes ``observe``."""
    river = jnp.array(np.isin(BOARD, ["~"]))

    def observe(world: World) -> Observation:
        # More water than fires is of no use.
        water = jnp.minimum(world.tank, len(FIRES)) * np.float32(1 / len(FIRES))
        return scene.look(
            SCENE,
            cfg.horizon,
            world.position,
            world.fires,
            world.step,
            layers=[river],
            more=[water],
        )

    return observe


def _marks(world: World) -> dict[str, np.ndarray]:
    """Rivers and what still burns."""
    return {"~": RIVERS, "^": FIRES[np.asarray(world.fires)]}


pack, unpack = scene.codec(World, Packed, {"fires": len(FIRES)}, wide=["tank"])
text, image, film, sketch = draw.painters(
    BOARD, _marks, ["spray", "pump"], counters=["tank"]
)
