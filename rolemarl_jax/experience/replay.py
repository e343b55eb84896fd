"""Replay of episodes as long as they really were: what is written, and the record.

How slots lie in memory is told in `slots`, which of them make a batch in `sampling`,
and what a slot keeps of the world in `store`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.sampling import (
    drawable,
    read_rows,
    rows_anywhere,
    whole_episodes,
)
from rolemarl_jax.experience.slots import (
    TERMINAL,
    TERMINATED,
    TRUNCATED,
    ReplayState,
    StoredStep,
)
from rolemarl_jax.experience.store import Store
from rolemarl_jax.run_config import ReplayConfig
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import (
    Array,
    Batch,
    EnvSpec,
    Key,
    PyTree,
    shaped,
)


class Block(NamedTuple):
    """What ``n`` ticks of W worlds produced, in order."""

    world: PyTree  # [n, W, ...] stored form of the world acted in
    final: PyTree  # [n, W, ...] stored form of the world after the step
    action: Array  # [n, W, N] int32
    reward: Array  # [n, W]
    terminated: Array  # [n, W] bool
    truncated: Array  # [n, W] bool


class Whole(NamedTuple):
    """One finished episode of ``length`` steps, padded to the time limit T."""

    world: PyTree  # [T+1, ...] stored form of the worlds acted in and the terminal one
    action: Array  # [T, N] int32
    reward: Array  # [T]
    length: Array  # [] int32
    terminated: Array  # [] bool; otherwise it was truncated


@dataclass(frozen=True)
class Replay:
    """Replay for one world and configuration, as pure functions.

    Attributes:
        store: how worlds are kept.
        init: ``() -> ReplayState``.
        add: ``(ReplayState, Block) -> ReplayState``.
        insert: ``(ReplayState, Whole) -> ReplayState``; into the first lane.
        sample: ``(ReplayState, key) -> Batch``.
        full: ``ReplayState -> [] bool``, whether a batch holds nothing but real rows.
        slot_bytes: bytes of one stored step.
        warmup_ticks: ticks after which a full batch exists whatever happened.
    """

    store: Store
    init: Callable[[], ReplayState]
    add: Callable[[ReplayState, Block], ReplayState]
    insert: Callable[[ReplayState, Whole], ReplayState]
    sample: Callable[[ReplayState, Key], Batch]
    full: Callable[[ReplayState], Array]
    slot_bytes: int
    warmup_ticks: int


class _Sampling(NamedTuple):
    """One of the two ways to draw a batch."""

    sample: Callable[[ReplayState, Key], Batch]
    full: Callable[[ReplayState], Array]
    warmup_ticks: int


def make_replay(cfg: ReplayConfig, spec: EnvSpec, store: Store, worlds: int) -> Replay:
    """Replay for ``worlds`` lanes of what a store keeps.

    Raises:
        ConfigError: a lane shorter than two episodes, or rows that do not fit one.
    """
    lane = lane_slots(cfg, worlds)
    limit, whole = spec.episode_limit, cfg.sampling == "episodes"
    _check(cfg, lane, limit + 1 if whole else _row_slots(cfg), limit, worlds)
    make_sampling = _whole_sampling if whole else _row_sampling
    how = make_sampling(cfg, store, lane, limit, worlds)
    action_type = jnp.uint8 if spec.n_actions <= 256 else jnp.int32
    slot = StoredStep(
        world=store.form,
        action=shaped((spec.n_agents,), action_type),
        reward=shaped((), jnp.float32),
        flags=shaped((), jnp.uint8),
    )

    def init() -> ReplayState:
        def zeros(x: jax.ShapeDtypeStruct) -> Array:
            return jnp.zeros((worlds * lane, *x.shape), x.dtype)

        return ReplayState(
            slots=jax.tree.map(zeros, slot),
            head=jnp.zeros(worlds, jnp.int32),
            begun=jnp.zeros(worlds, jnp.int32),
            lane=jnp.zeros(cfg.episodes, jnp.int32),
            start=jnp.zeros(cfg.episodes, jnp.int32),
            count=jnp.zeros((), jnp.int32),
        )

    return Replay(
        store=store,
        init=init,
        add=lambda state, block: _add(state, block, lane),
        insert=lambda state, whole: _insert(state, whole, lane),
        sample=how.sample,
        full=how.full,
        slot_bytes=tree_bytes(slot),
        warmup_ticks=how.warmup_ticks,
    )


def lane_slots(cfg: ReplayConfig, worlds: int) -> int:
    """Slots that each of ``worlds`` lanes has."""
    return cfg.episodes * cfg.mean_length // worlds


def _whole_sampling(
    cfg: ReplayConfig, store: Store, lane: int, limit: int, worlds: int
) -> _Sampling:
    """``replay.batch`` episodes, padded to the time limit."""

    def sample(state: ReplayState, key: Key) -> Batch:
        picked = whole_episodes(state, cfg.batch, limit + 1, lane, key)
        return read_rows(state, store, picked, lane)

    def full(state: ReplayState) -> Array:
        return drawable(state, lane).sum() >= cfg.batch

    return _Sampling(sample, full, -(-cfg.batch // worlds) * limit)


def _row_sampling(
    cfg: ReplayConfig, store: Store, lane: int, limit: int, worlds: int
) -> _Sampling:
    """``replay.rows`` rows that begin anywhere."""
    del limit
    slots, learnt = _row_slots(cfg), cfg.rows * cfg.row_length

    def sample(state: ReplayState, key: Key) -> Batch:
        picked = rows_anywhere(state, cfg.rows, slots, cfg.burn_in, lane, key)
        return read_rows(state, store, picked, lane)

    def full(state: ReplayState) -> Array:
        kept = jnp.minimum(state.head, lane)
        return (kept.min() >= slots) & (kept.sum() >= learnt)

    return _Sampling(sample, full, max(slots, -(-learnt // worlds)))


def _row_slots(cfg: ReplayConfig) -> int:
    """Slots of a row: its burn-in, its steps, and the observation after the last."""
    return cfg.burn_in + cfg.row_length + 1


def _check(cfg: ReplayConfig, lane: int, row: int, limit: int, worlds: int) -> None:
    least = 2 * max(limit + 1, row)
    if lane < least:
        raise ConfigError(
            f"replay.episodes: {cfg.episodes} episodes of replay.mean_length="
            f"{cfg.mean_length} steps over train.worlds={worlds} lanes leave {lane} "
            f"slots a lane; allowed: at least {least}"
        )
    if cfg.sampling == "episodes" and cfg.batch > cfg.episodes:
        raise ConfigError(
            f"replay.batch: got {cfg.batch} rows, more than replay.episodes="
            f"{cfg.episodes}"
        )


def _add(state: ReplayState, block: Block, lane: int) -> ReplayState:
    """Writes a block; finished episodes enter the table in the order of their end.

    A step takes a slot and the end of an episode one more: a block of more than half as
    many ticks as a lane has slots could overwrite itself (``memory.check_block``).
    """
    n, worlds = block.reward.shape
    ended = block.terminated | block.truncated
    ends_before = jnp.cumsum(ended, axis=0) - ended
    position = state.head + jnp.arange(n)[:, None] + ends_before
    base = jnp.arange(worlds) * lane
    at = base + position % lane
    nowhere = worlds * lane
    at_final = jnp.where(ended, base + (position + 1) % lane, nowhere)

    flags = TERMINATED * block.terminated + TRUNCATED * block.truncated
    action_type = state.slots.action.dtype
    steps = StoredStep(
        block.world,
        block.action.astype(action_type),
        block.reward,
        flags.astype(jnp.uint8),
    )
    final = StoredStep(
        block.final,
        jnp.zeros_like(steps.action),
        jnp.zeros_like(block.reward),
        jnp.full_like(steps.flags, TERMINAL),
    )
    slots = jax.tree.map(lambda old, x: old.at[at].set(x), state.slots, steps)
    slots = jax.tree.map(
        lambda old, x: old.at[at_final].set(x, mode="drop"), slots, final
    )

    begins = jnp.where(ended, position + 2, 0)
    latest = jax.lax.cummax(jnp.concatenate([state.begun[None], begins]), axis=0)
    entry = table_entries(ended, state.count, state.start.shape[0])
    lanes = jnp.broadcast_to(jnp.arange(worlds), ended.shape)
    return ReplayState(
        slots=slots,
        head=state.head + n + ended.sum(0),
        begun=latest[-1],
        lane=state.lane.at[entry].set(lanes, mode="drop"),
        start=state.start.at[entry].set(latest[:-1], mode="drop"),
        count=state.count + ended.sum(),
    )


def table_entries(ended: Array, count: Array, size: int) -> Array:
    """Where in the table each episode that ends in a block stands.

    Args:
        ended: `[n, W]` bool. count: `[]`, episodes that ended before the block.
            size: of the table, which may be less than end in one block.

    Returns:
        `[n, W]` int, no entry twice; ``size`` where no episode ends, or where the block
        has as many later ones as the table holds.
    """
    order = count + jnp.cumsum(ended.reshape(-1)).reshape(ended.shape) - 1
    if ended.size > size:  # more may end than the table holds
        ended = ended & (order > order[-1, -1] - size)
    return jnp.where(ended, order % size, size)


def _insert(state: ReplayState, whole: Whole, lane: int) -> ReplayState:
    """Writes one whole episode into the first lane, which nothing else may use."""
    step = jnp.arange(whole.reward.shape[0] + 1)
    nowhere = state.slots.reward.shape[0]
    at = jnp.where(step <= whole.length, (state.head[0] + step) % lane, nowhere)
    end = jnp.where(whole.terminated, TERMINATED, TRUNCATED)
    flags = jnp.where(step == whole.length - 1, end, 0)
    flags = jnp.where(step == whole.length, TERMINAL, flags).astype(jnp.uint8)

    def padded(x: Array) -> Array:
        return jnp.concatenate([x, jnp.zeros_like(x[:1])])

    action = padded(whole.action).astype(state.slots.action.dtype)
    new = StoredStep(whole.world, action, padded(whole.reward), flags)
    slots = jax.tree.map(
        lambda old, x: old.at[at].set(x, mode="drop"), state.slots, new
    )
    entry = state.count % state.start.shape[0]
    head = state.head.at[0].add(whole.length + 1)
    return ReplayState(
        slots=slots,
        head=head,
        begun=state.begun.at[0].set(head[0]),
        lane=state.lane.at[entry].set(0),
        start=state.start.at[entry].set(state.head[0]),
        count=state.count + 1,
    )
