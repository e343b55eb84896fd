"""Relay: a world of one's own. Copy this folder, and change it.

Two agents walk on a line of cells. A lamp shows one of the two ends to the first agent
only; a step pays 1 while the second agent stands at that end. The first agent can call
it to the left or to the right, which the second agent sees in the next step.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, Positive, config
from rolemarl_jax.types import Array, Bodies, Env, EnvSpec, Key, Observation, Step

N_AGENTS, STAY, LEFT, RIGHT = 2, 0, 1, 2
SEER, WALKER = 0, 1


@config
class Config:
    """Relay (``conf/env/relay.yaml``).

    Attributes:
        name: path of this module.
        cells: of the line.
        horizon: steps of every episode.
    """

    name: str
    cells: Positive
    horizon: Positive


class World(NamedTuple):
    """What a world is at one moment."""

    cell: Array  # [] int32, of the walker
    lamp: Array  # [] int32, 0 (left end) or 1 (right end)
    call: Array  # [] int32, what the seer did last
    step: Array  # [] int32


def make(cfg: Config) -> Env:
    """The world as a record of pure functions.

    Raises:
        ConfigError: an episode too short to get to an end of the line.
    """
    walk = cfg.cells // 2  # steps from the middle to an end
    if cfg.horizon < walk:
        raise ConfigError(
            f"env.horizon: got {cfg.horizon}; allowed: at least {walk}, half of "
            f"env.cells={cfg.cells}"
        )
    spec = EnvSpec(
        name="relay",
        n_agents=N_AGENTS,
        n_actions=3,
        obs_dim=6,
        state_dim=6,
        episode_limit=cfg.horizon,
        # The first step that can be paid is the one that arrives.
        max_return=float(cfg.horizon + 1 - max(1, walk)),
        kinds=("seer", "walker"),
        own_type=0,
    )
    return Env(
        spec=spec,
        reset=partial(reset, cfg),
        step=partial(step, cfg),
        observe=partial(observe, cfg),
        # A world is four numbers as it is; see envs/grid for one that is packed.
        pack=lambda world: world,
        unpack=lambda packed: packed,
        bodies=partial(bodies, cfg),
    )


def reset(cfg: Config, key: Key) -> World:
    """An episode's beginning: the walker in the middle, the lamp by chance."""
    lamp = jax.random.bernoulli(key).astype(jnp.int32)
    middle, zero = jnp.asarray(cfg.cells // 2, jnp.int32), jnp.zeros((), jnp.int32)
    return World(middle, lamp, zero, zero)


def step(cfg: Config, key: Key, world: World, actions: Array) -> tuple[World, Step]:
    """One step; nothing of it is random. ``actions`` is `[N]` int32."""
    del key
    moved = (actions[WALKER] == RIGHT).astype(jnp.int32) - (actions[WALKER] == LEFT)
    cell = jnp.clip(world.cell + moved, 0, cfg.cells - 1)
    after = World(cell, world.lamp, actions[SEER], world.step + 1)
    there = cell == world.lamp * (cfg.cells - 1)
    never = jnp.zeros((), bool)
    # The clock ends an episode, and nothing in the world does: `truncated`.
    late = after.step >= cfg.horizon
    return after, Step(there.astype(jnp.float32), never, late, won=never)


def observe(cfg: Config, world: World) -> Observation:
    """``obs`` `[N, O]`, ``state`` `[S]` and ``avail`` `[N, A]` of a world."""
    lamp, call = jax.nn.one_hot(world.lamp, 2), jax.nn.one_hot(world.call, 3)
    place = (world.cell / max(1, cfg.cells - 1)).astype(jnp.float32)[None]
    kinds = jnp.eye(N_AGENTS)
    seer = jnp.concatenate([kinds[SEER], place, lamp, jnp.zeros(1)])
    walker = jnp.concatenate([kinds[WALKER], place, call])
    avail = jnp.ones((N_AGENTS, 3), bool)
    return Observation(
        jnp.stack([seer, walker]), jnp.concatenate([lamp, call, place]), avail
    )


def bodies(cfg: Config, world: World) -> Bodies:
    """What a spectator sees: the seer above the line, the walker on it."""
    x = (world.cell / max(1, cfg.cells - 1)).astype(jnp.float32)
    place = jnp.stack([jnp.array([0.5, 1.0]), jnp.stack([x, jnp.zeros(())])])
    return Bodies(jnp.arange(N_AGENTS), place, jnp.ones(N_AGENTS, bool))
