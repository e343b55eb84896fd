"""Firefighters of EOI (section 4.3): two fires, two rivers, one small water tank.

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

BOARD = board.layout(
    (
        "###########",
        "#.........#",
        "#.fff...~~#",
        "#.f@f...~~#",
        "#.........#",
        "#.........#",
        "#.........#",
        "#~~...ggg.#",
        "#~~...ggg.#",
        "#.........#",
        "###########",
    )
)
FIRES = board.cells(BOARD, "fg@")
RIVERS = board.cells(BOARD, "~")
START = board.cells(BOARD, "@")[0]
AGENTS = 4
SPRAY, PUMP = 4, 5


@config
class Config:
    """Firefighters (``env/firefighters.yaml``, where every key is explained)."""

    name: Literal["firefighters"]
    water: int
    horizon: int


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
    if not 1 <= cfg.horizon <= 255:
        raise ConfigError(f"env.horizon: got {cfg.horizon}; allowed: 1 to 255")
    reset, look = _resetter(cfg), _observer(cfg)
    seen = jax.eval_shape(lambda key: look(reset(key)), jax.random.key(0))
    spec = EnvSpec(
        name=cfg.name,
        n_agents=AGENTS,
        n_actions=PUMP + 1,
        obs_dim=seen.obs.shape[1],
        state_dim=seen.state.shape[0],
        episode_limit=cfg.horizon,
        max_return=float(len(FIRES)),
    )
    return Env(spec, reset, _stepper(cfg), look, pack, unpack)


def _resetter(cfg: Config) -> Callable[[Key], World]:
    """Makes ``reset``; nothing is random."""

    def reset(key: Key) -> World:
        start = jnp.tile(jnp.array(START, jnp.int32), (AGENTS, 1))
        tank = jnp.full((), cfg.water, jnp.int32)
        return World(start, jnp.ones(len(FIRES), bool), tank, jnp.zeros((), jnp.int32))

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
        end = world.step >= cfg.horizon
        score = (~fires).sum().astype(jnp.float32)
        never = jnp.zeros((), bool)
        return world, Step(jnp.where(end, score, 0.0), end, never, end & ~fires.any())

    return step


def _observer(cfg: Config) -> Callable[[World], Observation]:
    """Makes ``observe``."""
    river = np.isin(BOARD, ["~"])

    def observe(world: World) -> Observation:
        layer = board.spread(BOARD, FIRES, world.fires)
        clock = world.step * np.float32(1 / cfg.horizon)
        # More water than fires is of no use.
        water = jnp.minimum(world.tank, len(FIRES)) * np.float32(1 / len(FIRES))
        where = board.place(BOARD, world.position).reshape(-1)
        return Observation(
            obs=board.views(BOARD, world.position, [layer, jnp.array(river)]),
            state=jnp.concatenate([where, world.fires, water[None], clock[None]]),
            avail=jnp.ones((AGENTS, PUMP + 1), bool),
        )

    return observe


def pack(world: World) -> Packed:
    """``pack`` of the protocol."""
    return Packed(
        world.position.astype(jnp.uint8),
        jnp.packbits(world.fires),
        world.tank.astype(jnp.uint16),
        world.step.astype(jnp.uint8),
    )


def unpack(packed: Packed) -> World:
    """``unpack`` of the protocol."""
    return World(
        packed.position.astype(jnp.int32),
        jnp.unpackbits(packed.fires, count=len(FIRES)).astype(bool),
        packed.tank.astype(jnp.int32),
        packed.step.astype(jnp.int32),
    )


def text(world: World) -> str:
    """The world as lines of text."""
    return draw.text(BOARD, _marks(world), np.asarray(world.position))


def image(world: World, cell: int = 24) -> np.ndarray:
    """The world as RGB ``[H, W, 3]`` uint8, ``cell`` pixels a cell."""
    return draw.image(BOARD, _marks(world), np.asarray(world.position), cell)


def _marks(world: World) -> dict[str, np.ndarray]:
    """Rivers and what still burns."""
    return {"~": RIVERS, "^": FIRES[np.asarray(world.fires)]}
