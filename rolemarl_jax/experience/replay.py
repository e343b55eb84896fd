"""Replay of whole episodes, as long as they really were.

Each world writes one contiguous stream of slots (a *lane*) into a ring; an episode of
L steps takes L + 1 slots, the last one holding its terminal observation and no
transition. A table lists where episodes start. So memory follows real lengths, and a
batch row can hold one episode (``episodes``) or several that follow each other
(``filled``).

What a slot keeps of the world is the store's choice (`store`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, ReplayConfig
from rolemarl_jax.experience.store import Store
from rolemarl_jax.trees import choose, tree_bytes
from rolemarl_jax.types import (
    Array,
    Batch,
    EnvSpec,
    Key,
    PyTree,
    shaped,
)

TERMINATED, TRUNCATED, TERMINAL = 1, 2, 4


class Block(NamedTuple):
    """What ``n`` ticks of W worlds produced, in order."""

    world: PyTree  # [n, W, ...] stored form of the world acted in
    final: PyTree  # [n, W, ...] stored form of the world after the step
    action: Array  # [n, W, N] int32
    reward: Array  # [n, W]
    terminated: Array  # [n, W] bool
    truncated: Array  # [n, W] bool


class StoredStep(NamedTuple):
    """One stored step; arrays have a leading axis over all slots of all lanes."""

    world: PyTree
    action: Array  # [N] uint8, or int32 beyond 256 actions
    reward: Array  # [] float32
    flags: Array  # [] uint8, TERMINATED | TRUNCATED, or TERMINAL


class ReplayState(NamedTuple):
    """Contents of one seed's replay. Positions count slots ever written in a lane."""

    slots: StoredStep  # [W * C, ...]
    head: Array  # [W] int32, next position
    begun: Array  # [W] int32, where the episode in progress started
    lane: Array  # [E] int32
    start: Array  # [E] int32
    count: Array  # [] int32, episodes ever finished


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
        slot_bytes: bytes of one stored step.
        warmup_ticks: ticks after which a full batch exists whatever happened.
    """

    store: Store
    init: Callable[[], ReplayState]
    add: Callable[[ReplayState, Block], ReplayState]
    insert: Callable[[ReplayState, Whole], ReplayState]
    sample: Callable[[ReplayState, Key], Batch]
    slot_bytes: int
    warmup_ticks: int


def make_replay(cfg: ReplayConfig, spec: EnvSpec, store: Store, worlds: int) -> Replay:
    """Replay for ``worlds`` lanes of what a store keeps.

    Raises:
        ConfigError: a lane shorter than two episodes, or rows that do not fit one.
    """
    lane = cfg.episodes * cfg.mean_length // worlds
    length = spec.episode_limit if cfg.sampling == "episodes" else cfg.row_length
    rows = cfg.batch if cfg.sampling == "episodes" else cfg.rows
    _check(cfg, lane, length, rows, spec.episode_limit, worlds)
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

    whole = cfg.sampling == "episodes"

    def sample(state: ReplayState, key: Key) -> Batch:
        need = 1 if whole else length + 1
        pick = _pick_episodes(state, rows, need, lane, key)
        return _gather(state, store, pick, length, lane, whole=whole)

    return Replay(
        store=store,
        init=init,
        add=lambda state, block: _add(state, block, lane),
        insert=lambda state, whole: _insert(state, whole, lane),
        sample=sample,
        slot_bytes=tree_bytes(slot),
        warmup_ticks=-(-rows // worlds) * spec.episode_limit
        + (0 if whole else length + 1),
    )


def _check(
    cfg: ReplayConfig, lane: int, length: int, rows: int, limit: int, worlds: int
) -> None:
    least = 2 * max(limit + 1, length + 1)
    if lane < least:
        raise ConfigError(
            f"replay.episodes: {cfg.episodes} episodes of replay.mean_length="
            f"{cfg.mean_length} steps over train.worlds={worlds} lanes leave {lane} "
            f"slots a lane; allowed: at least {least}"
        )
    if rows > cfg.episodes:
        raise ConfigError(
            f"replay.batch: got {rows} rows, more than replay.episodes={cfg.episodes}"
        )


def _add(state: ReplayState, block: Block, lane: int) -> ReplayState:
    """Writes a block; finished episodes enter the table in the order of their end."""
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
    order = state.count + jnp.cumsum(ended.reshape(-1)).reshape(ended.shape) - 1
    size = state.start.shape[0]
    entry = jnp.where(ended, order % size, size)
    lanes = jnp.broadcast_to(jnp.arange(worlds), ended.shape)
    return ReplayState(
        slots=slots,
        head=state.head + n + ended.sum(0),
        begun=latest[-1],
        lane=state.lane.at[entry].set(lanes, mode="drop"),
        start=state.start.at[entry].set(latest[:-1], mode="drop"),
        count=state.count + ended.sum(),
    )


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


def _pick_episodes(
    state: ReplayState, rows: int, need: int, lane: int, key: Key
) -> tuple[Array, Array, Array]:
    """Draws stored episodes uniformly, without replacement.

    An episode can be drawn if its first slot has not been overwritten and ``need``
    slots from there on exist.

    Returns:
        Lane and start of each row, `[rows]`, and whether it was there to be drawn.
    """
    head = state.head[state.lane]
    there = jnp.arange(state.start.shape[0]) < state.count
    there &= (state.start >= head - lane) & (state.start + need <= head)
    lottery = jnp.where(there, jax.random.uniform(key, there.shape), -1.0)
    score, pick = jax.lax.top_k(lottery, rows)
    return state.lane[pick], state.start[pick], score >= 0


def _gather(
    state: ReplayState,
    store: Store,
    pick: tuple[Array, Array, Array],
    length: int,
    lane: int,
    *,
    whole: bool,
) -> Batch:
    """Reads ``length + 1`` slots for each picked row, time-major, zeros where none."""
    lanes, start, drawn = pick
    position = start + jnp.arange(length + 1)[:, None]
    slots = jax.tree.map(lambda x: x[lanes * lane + position % lane], state.slots)
    terminal = slots.flags == TERMINAL
    begins = jnp.concatenate([jnp.ones_like(terminal[:1]), terminal[:-1]])
    there = drawn & (position < state.head[lanes])
    if whole:
        there &= jnp.cumsum(begins, axis=0) == 1
        begins &= jnp.arange(length + 1)[:, None] == 0
    step = there[:-1] & there[1:] & ~terminal[:-1]

    observation = jax.vmap(jax.vmap(store.decode))(slots.world)
    nothing = jax.tree.map(jnp.zeros_like, observation)
    obs, world_state, avail = choose(there, observation, nothing)
    action = jnp.where(step[..., None], slots.action[:-1].astype(jnp.int32), 0)
    before = jnp.concatenate([jnp.full_like(action[:1], -1), action])
    known = (there & ~begins)[..., None]
    return Batch(
        obs=obs,
        state=world_state,
        avail=avail,
        last_action=jnp.where(known, before, -1),
        reset=begins,
        action=action,
        reward=jnp.where(step, slots.reward[:-1], 0.0),
        terminated=step & (slots.flags[:-1] == TERMINATED),
        truncated=step & (slots.flags[:-1] == TRUNCATED),
        mask=step.astype(jnp.float32),
    )
