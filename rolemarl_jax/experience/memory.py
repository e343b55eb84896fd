"""What lies between collection and update: replay, or the block just collected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.replay import Block, lane_slots, make_replay
from rolemarl_jax.experience.rollout import Worlds, beginning
from rolemarl_jax.experience.rows import as_rows
from rolemarl_jax.experience.store import Store
from rolemarl_jax.learners.parts.learner import Experience, Learner
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import (
    AgentState,
    Array,
    Key,
    Observation,
    PyTree,
    Trajectory,
    shaped,
)


@dataclass(frozen=True)
class Memory:
    """Where experience waits for its update.

    Attributes:
        store: how worlds are kept.
        init: ``() -> contents``.
        add: ``(contents, Worlds at the start of the block, Block) -> contents``.
        sample: ``(contents, key) ->`` what the learner's ``update`` reads.
        slot_bytes: bytes of one stored step.
        warmup_ticks: ticks after which ``sample`` gives a full batch.
    """

    store: Store
    init: Callable[[], PyTree]
    add: Callable[[PyTree, Worlds, Block], PyTree]
    sample: Callable[[PyTree, Key], Experience]
    slot_bytes: int
    warmup_ticks: int


class FreshState(NamedTuple):
    """One block of experience."""

    block: Block
    agents: AgentState  # [W, ...] when the block began


def check_minibatch(cfg: RunConfig, learner: Learner) -> None:
    """Refuses worlds that the learner's minibatches do not divide.

    Raises:
        ConfigError: names both.
    """
    worlds = cfg.train.worlds
    if learner.minibatch is not None and worlds % learner.minibatch:
        raise ConfigError(
            f"algo.minibatch: got {learner.minibatch}; allowed: divisors of "
            f"train.worlds={worlds}"
        )


def check_block(cfg: RunConfig, ticks: int) -> None:
    """Refuses blocks that may overwrite themselves in a lane of replay.

    A step takes at most two slots: its own, and that of the observation after an
    episode's last one.

    Raises:
        ConfigError: names block and lane.
    """
    worlds, lane = cfg.train.worlds, lane_slots(cfg.replay, cfg.train.worlds)
    if 2 * ticks > lane:
        raise ConfigError(
            f"train.steps_per_update: got {cfg.train.steps_per_update}, {ticks} ticks "
            f"of train.worlds={worlds}, which may take {2 * ticks} slots of a lane of "
            f"replay; replay.episodes={cfg.replay.episodes} of replay.mean_length="
            f"{cfg.replay.mean_length} steps leave a lane {lane}; allowed: at most "
            f"{lane // 2 * worlds}, or more episodes"
        )


def check_sampling(cfg: RunConfig, learner: Learner) -> None:
    """Refuses an on-policy learner with a replay or the reverse, or rows begun late.

    Raises:
        ConfigError: names both.
    """
    name, sampling = cfg.algo.get("name", "this algorithm"), cfg.replay.sampling
    on_policy = learner.experience != "replay"
    if on_policy != (sampling == "fresh"):
        raise ConfigError(
            f"replay.sampling: got '{sampling}', but algo={name} learns from "
            + (
                "what its own policy has just collected; allowed: fresh"
                if on_policy
                else "replay; allowed: episodes, filled"
            )
        )
    if learner.whole and sampling == "filled":
        raise ConfigError(
            f"replay.sampling: got 'filled', but algo={name} has to see an episode "
            "from its first step on; allowed: episodes"
        )


def make_memory(cfg: RunConfig, learner: Learner, store: Store, ticks: int) -> Memory:
    """The memory that the learner needs, for blocks of ``ticks`` steps.

    Args:
        store: how worlds are kept.

    Raises:
        ConfigError: an on-policy learner and a replay, or the reverse; sizes that
            do not fit.
    """
    check_sampling(cfg, learner)
    name = cfg.algo.get("name", "this algorithm")
    if learner.experience == "replay":
        check_block(cfg, ticks)
        replay = make_replay(cfg.replay, learner.spec, store, cfg.train.worlds)
        return Memory(
            store=replay.store,
            init=replay.init,
            add=lambda state, _, block: replay.add(state, block),
            sample=replay.sample,
            slot_bytes=replay.slot_bytes,
            warmup_ticks=replay.warmup_ticks,
        )
    if cfg.train.steps_per_update < cfg.train.worlds:
        raise ConfigError(
            f"train.steps_per_update: got {cfg.train.steps_per_update}; allowed for "
            f"algo={name}, which uses a block once: at least train.worlds="
            f"{cfg.train.worlds}"
        )
    check_minibatch(cfg, learner)
    return _fresh(store, learner, cfg, ticks)


def _fresh(store: Store, learner: Learner, cfg: RunConfig, ticks: int) -> Memory:
    """Memory of one block; every ``add`` overwrites it."""
    worlds, spec = cfg.train.worlds, learner.spec
    slot = Block(
        world=store.form,
        final=store.form,
        action=shaped((spec.n_agents,), jnp.int32),
        reward=shaped((), jnp.float32),
        terminated=shaped((), jnp.bool_),
        truncated=shaped((), jnp.bool_),
    )

    def init() -> FreshState:
        def zeros(x: jax.ShapeDtypeStruct) -> Array:
            return jnp.zeros((ticks, worlds, *x.shape), x.dtype)

        return FreshState(
            block=jax.tree.map(zeros, slot),
            agents=beginning(learner.carry(worlds), worlds, spec.n_agents),
        )

    def add(_: FreshState, before: Worlds, block: Block) -> FreshState:
        return FreshState(block, before.agents)

    def sample(state: FreshState, _: Key) -> Experience:
        if learner.experience == "rows":
            return as_rows(state.block, state.agents, store, learner.ends)
        return read_block(state, store, spec.episode_limit)

    return Memory(
        store=store,
        init=init,
        add=add,
        sample=sample,
        slot_bytes=tree_bytes(slot),
        warmup_ticks=0,
    )


def read_block(state: FreshState, store: Store, limit: int) -> Trajectory:
    """The block as a learner reads it.

    Only the time limit truncates, so two truncations of a world are at least
    ``limit`` steps apart; that bounds the number of final observations.
    """
    block = state.block
    ticks, worlds = block.reward.shape
    ended = block.terminated | block.truncated
    reset = jnp.concatenate([state.agents.reset[None], ended[:-1]])
    before = jnp.concatenate([state.agents.last_action[None], block.action[:-1]])

    steps = jnp.arange(ticks)[:, None]
    cuts = jnp.sort(jnp.where(block.truncated, steps, ticks), axis=0)
    cuts = cuts[: 1 + (ticks - 1) // limit]
    at = jnp.concatenate([cuts, jnp.full((1, worlds), ticks - 1)]).astype(jnp.int32)
    there = jnp.minimum(at, ticks - 1), jnp.arange(worlds)
    obs, world_state, avail = _decode(store, block.world)
    return Trajectory(
        obs=obs,
        state=world_state,
        avail=avail,
        last_action=jnp.where(reset[..., None], -1, before),
        reset=reset,
        action=block.action,
        reward=block.reward,
        terminated=block.terminated,
        truncated=block.truncated,
        mask=jnp.ones_like(block.reward),
        carry=state.agents.carry,
        final=_decode(store, jax.tree.map(lambda x: x[there], block.final)),
        final_at=at,
    )


def _decode(store: Store, world: PyTree) -> Observation:
    return jax.vmap(jax.vmap(store.decode))(world)
