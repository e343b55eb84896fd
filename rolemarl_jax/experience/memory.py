"""What lies between collection and update: replay, or the block just collected."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, RunConfig
from rolemarl_jax.experience.replay import Block, Store, make_replay, make_store
from rolemarl_jax.experience.rollout import Worlds
from rolemarl_jax.learners.parts.phases import Experience, Learner
from rolemarl_jax.types import Array, Env, Fresh, Key, Observation, PyTree, shaped


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
    """One block, and what its agents remembered when it began."""

    block: Block
    carry: PyTree  # [W, ...]
    last_action: Array  # [W, N]
    reset: Array  # [W]


def check_sampling(cfg: RunConfig, learner: Learner) -> None:
    """Refuses an on-policy learner with a replay, or the reverse.

    Raises:
        ConfigError: names both.
    """
    name, sampling = cfg.algo.get("name", "this algorithm"), cfg.replay.sampling
    if (learner.experience == "fresh") != (sampling == "fresh"):
        on_policy = learner.experience == "fresh"
        raise ConfigError(
            f"replay.sampling: got '{sampling}', but algo={name} learns from "
            + (
                "what its own policy has just collected; allowed: fresh"
                if on_policy
                else "replay; allowed: episodes, filled"
            )
        )


def make_memory(cfg: RunConfig, env: Env, learner: Learner, ticks: int) -> Memory:
    """The memory that the learner needs, for blocks of ``ticks`` steps.

    Raises:
        ConfigError: an on-policy learner and a replay, or the reverse; sizes that
            do not fit.
    """
    check_sampling(cfg, learner)
    name = cfg.algo.get("name", "this algorithm")
    if learner.experience == "replay":
        replay = make_replay(cfg.replay, env, cfg.train.worlds)
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
    return _fresh(make_store(cfg.replay.store, env), env, learner, cfg, ticks)


def _fresh(
    store: Store, env: Env, learner: Learner, cfg: RunConfig, ticks: int
) -> Memory:
    """Memory of one block; every ``add`` overwrites it."""
    worlds, spec = cfg.train.worlds, env.spec
    slot = Block(
        *[jax.eval_shape(lambda k: store.encode(env.reset(k)), jax.random.key(0))] * 2,
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
            carry=learner.carry(worlds),
            last_action=jnp.full((worlds, spec.n_agents), -1, jnp.int32),
            reset=jnp.ones(worlds, bool),
        )

    def add(_: FreshState, before: Worlds, block: Block) -> FreshState:
        return FreshState(block, before.carry, before.last_action, before.reset)

    return Memory(
        store=store,
        init=init,
        add=add,
        sample=lambda state, _: read_block(state, store, spec.episode_limit),
        slot_bytes=sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(slot)),
        warmup_ticks=0,
    )


def read_block(state: FreshState, store: Store, limit: int) -> Fresh:
    """The block as a learner reads it.

    Only the time limit truncates, so two truncations of a world are at least
    ``limit`` steps apart; that bounds the number of final observations.
    """
    block = state.block
    ticks, worlds = block.reward.shape
    ended = block.terminated | block.truncated
    reset = jnp.concatenate([state.reset[None], ended[:-1]])
    before = jnp.concatenate([state.last_action[None], block.action[:-1]])

    steps = jnp.arange(ticks)[:, None]
    cuts = jnp.sort(jnp.where(block.truncated, steps, ticks), axis=0)
    cuts = cuts[: 1 + (ticks - 1) // limit]
    at = jnp.concatenate([cuts, jnp.full((1, worlds), ticks - 1)]).astype(jnp.int32)
    there = jnp.minimum(at, ticks - 1), jnp.arange(worlds)
    obs, world_state, avail = _decode(store, block.world)
    return Fresh(
        obs=obs,
        state=world_state,
        avail=avail,
        last_action=jnp.where(reset[..., None], -1, before),
        reset=reset,
        action=block.action,
        reward=block.reward,
        terminated=block.terminated,
        truncated=block.truncated,
        carry=state.carry,
        final=_decode(store, jax.tree.map(lambda x: x[there], block.final)),
        final_at=at,
    )


def _decode(store: Store, world: PyTree) -> Observation:
    return jax.vmap(jax.vmap(store.decode))(world)
