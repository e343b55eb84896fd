"""What grid worlds share but for their rules: start, clock, end, sight, packing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.grid import board
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import Array, Bodies, Env, EnvSpec, Observation, Step


@dataclass(frozen=True)
class Scene:
    """What is fixed in a grid world.

    Attributes:
        board: characters ``[H, W]``.
        spots: cells ``[K, 2]`` that carry a mark each.
        start: cell ``[2]`` where all agents begin.
        n_agents: N.
        n_actions: A.
        placed: whether agents see where on the board they are.
    """

    board: np.ndarray
    spots: np.ndarray
    start: np.ndarray
    n_agents: int
    n_actions: int
    placed: bool = True


def make_env(
    scene: Scene, name: str, horizon: int, best: float, **functions: Callable
) -> Env:
    """The environment's record.

    Args:
        scene: the world.
        name: as the configuration has it.
        horizon: steps of every episode.
        best: return of a perfect episode.
        functions: of the ``Env`` protocol.

    Raises:
        ConfigError: a horizon out of range.
    """
    if not 1 <= horizon <= 255:
        raise ConfigError(f"env.horizon: got {horizon}; allowed: 1 to 255")
    reset, observe = functions["reset"], functions["observe"]
    seen = jax.eval_shape(lambda key: observe(reset(key)), jax.random.key(0))
    spec = EnvSpec(
        name=name,
        n_agents=scene.n_agents,
        n_actions=scene.n_actions,
        obs_dim=seen.obs.shape[1],
        state_dim=seen.state.shape[0],
        episode_limit=horizon,
        max_return=float(best),
    )
    return Env(spec, **functions, bodies=lambda world: _bodies(scene, world))


def _bodies(scene: Scene, world: Any) -> Bodies:
    """Agents of one kind; all of them live."""
    n = scene.n_agents
    place = board.place(scene.board, world.position)
    return Bodies(jnp.zeros(n, jnp.int32), place, jnp.ones(n, bool))


def gathered(scene: Scene) -> Array:
    """Cells ``[N, 2]`` of the agents before the first step."""
    return jnp.tile(jnp.array(scene.start, jnp.int32), (scene.n_agents, 1))


def outcome(horizon: int, step: Array, score: Array) -> Step:
    """A step's record: the score is the reward of the last step, which terminates.

    Args:
        horizon: steps of every episode.
        step: how many were taken, ``[]`` int.
        score: ``[]`` int.

    Returns:
        The record. Nothing is ever won: the paper's measure of these worlds is the
        return, so that it is the headline of their runs, too.
    """
    end = step >= horizon
    never = jnp.zeros((), bool)
    reward = jnp.where(end, score.astype(jnp.float32), 0.0)
    return Step(reward, end, truncated=never, won=never)


def look(
    scene: Scene,
    horizon: int,
    position: Array,
    marks: Array,
    step: Array,
    layers: Sequence[Array] = (),
    more: Sequence[Array] = (),
) -> Observation:
    """What agents and learner see: marks around them; marks, places and the clock.

    Args:
        scene: the world.
        horizon: steps of every episode.
        position: cells ``[N, 2]``.
        marks: ``[K]`` bool, of the scene's spots.
        step: how many were taken, ``[]`` int.
        layers: what else lies on the board, ``[H, W]`` each.
        more: further scalars of the state in [0, 1].
    """
    layer = board.spread(scene.board, scene.spots, marks)
    clock = step * np.float32(1 / horizon)
    where = board.place(scene.board, position)
    obs = board.views(scene.board, position, [layer, *layers])
    scalars = [scalar[None] for scalar in (*more, clock)]
    return Observation(
        obs=jnp.concatenate([obs, where], 1) if scene.placed else obs,
        state=jnp.concatenate([where.reshape(-1), marks, *scalars]),
        avail=jnp.ones((scene.n_agents, scene.n_actions), bool),
    )


def codec(
    world: Callable, packed: Callable, bits: Mapping[str, int], wide: Collection = ()
) -> tuple[Callable, Callable]:
    """``pack`` and ``unpack`` of the protocol, lossless.

    Args:
        world: record of a world.
        packed: record of the same fields.
        bits: how many marks each field of bools has; a mark takes a bit.
        wide: fields whose numbers may exceed 255; they take two bytes, the rest one.
    """

    def small(name: str, x: Array) -> Array:
        if name in bits:
            return jnp.packbits(x)
        return x.astype(jnp.uint16 if name in wide else jnp.uint8)

    def full(name: str, x: Array) -> Array:
        if name in bits:
            return jnp.unpackbits(x, count=bits[name]).astype(bool)
        return x.astype(jnp.int32)

    def pack(state: Any) -> Any:
        return packed(**{name: small(name, x) for name, x in state._asdict().items()})

    def unpack(kept: Any) -> Any:
        return world(**{name: full(name, x) for name, x in kept._asdict().items()})

    return pack, unpack
