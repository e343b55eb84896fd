"""Which stored steps a batch holds, and how they are read.

Two ways. ``whole_episodes``: drawn uniformly, without replacement. ``rows_anywhere``:
rows of equal length that begin at any stored slot with equal chance and go round the
ring, so that every stored transition is learnt from equally often, however late in its
episode it is. Such a row may begin inside an episode, where the recurrent state is not
known: its first ``burn_in`` steps only warm that state up (R2D2, Kapturowski et al.
2019) and are masked.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.experience.slots import TERMINAL, TERMINATED, TRUNCATED, ReplayState
from rolemarl_jax.experience.store import Store
from rolemarl_jax.trees import choose
from rolemarl_jax.types import Array, Batch, Key


class Picked(NamedTuple):
    """Slots of R rows of K steps; positions count slots ever written in a lane."""

    lane: Array  # [R] int32
    position: Array  # [K, R] int32
    there: Array  # [K, R] bool, whether the slot belongs to the row
    begins: Array  # [K, R] bool, whether the recurrent state begins anew
    before: Array  # [R] bool, whether the slot before the first is of its episode
    learnt: Array  # [K, R] bool, whether the step may be learnt from


def drawable(state: ReplayState, lane: int) -> Array:
    """Episodes of the table whose first slot has not been overwritten, `[E]` bool."""
    listed = jnp.arange(state.start.shape[0]) < state.count
    return listed & (state.start >= state.head[state.lane] - lane)


def whole_episodes(
    state: ReplayState, rows: int, steps: int, lane: int, key: Key
) -> Picked:
    """Draws stored episodes uniformly, without replacement; empty rows if too few.

    Args:
        steps: K, the time limit and one. lane: slots of a lane.
    """
    ready = drawable(state, lane)
    lottery = jnp.where(ready, jax.random.uniform(key, ready.shape), -1.0)
    score, pick = jax.lax.top_k(lottery, rows)
    lanes = state.lane[pick]
    position = state.start[pick] + jnp.arange(steps)[:, None]
    at_start = jnp.broadcast_to(jnp.arange(steps)[:, None] == 0, position.shape)
    ended = _terminal(state, lanes, position - 1, lane) & ~at_start
    there = (score >= 0) & (position < state.head[lanes])
    there &= jnp.cumsum(ended, axis=0) == 0
    nothing = jnp.zeros(rows, bool)
    return Picked(lanes, position, there, at_start, nothing, there)


def rows_anywhere(
    state: ReplayState, rows: int, steps: int, burn_in: int, lane: int, key: Key
) -> Picked:
    """Draws where rows begin, uniformly over all stored slots, with replacement.

    The slots of a lane are a ring: after the newest comes the oldest, where the state
    begins anew. Steps less than ``burn_in`` after an oldest slot whose predecessor was
    overwritten are not learnt from.

    Args:
        steps: K, burn-in and one included. lane: slots of a lane.
    """
    kept = jnp.minimum(state.head, lane)
    until = jnp.cumsum(kept)
    ticket = jax.random.randint(key, (rows,), 0, jnp.maximum(until[-1], 1))
    lanes = jnp.searchsorted(until, ticket, side="right")
    oldest = (state.head - kept)[lanes]
    offset = ticket - (until - kept)[lanes] + jnp.arange(steps)[:, None]
    age = offset % jnp.maximum(kept[lanes], 1)
    position = oldest + age
    first = jnp.arange(steps)[:, None] == 0
    before = (age[0] > 0) & ~_terminal(state, lanes, position[0] - 1, lane)
    begins = first | (age == 0) | _terminal(state, lanes, position - 1, lane)
    warm = (jnp.arange(steps)[:, None] >= burn_in) & ((age >= burn_in) | (oldest == 0))
    there = jnp.broadcast_to(until[-1] > 0, position.shape)
    return Picked(lanes, position, there, begins, before, warm & there)


def _terminal(state: ReplayState, lanes: Array, position: Array, lane: int) -> Array:
    """Whether slots hold terminal observations."""
    return state.slots.flags[lanes * lane + position % lane] == TERMINAL


def read_rows(state: ReplayState, store: Store, picked: Picked, lane: int) -> Batch:
    """Reads what was picked, time-major; zeros in slots that are not there."""
    lanes, position, there = picked.lane, picked.position, picked.there
    slots = jax.tree.map(lambda x: x[lanes * lane + position % lane], state.slots)
    terminal = slots.flags == TERMINAL
    follows = (position[1:] == position[:-1] + 1) & there[1:]
    step = there[:-1] & follows & ~terminal[:-1]

    observation = jax.vmap(jax.vmap(store.decode))(slots.world)
    nothing = jax.tree.map(jnp.zeros_like, observation)
    obs, world_state, avail = choose(there, observation, nothing)
    action = jnp.where(step[..., None], slots.action[:-1].astype(jnp.int32), 0)
    first = state.slots.action[lanes * lane + (position[0] - 1) % lane]
    first = jnp.where(picked.before[:, None], first.astype(jnp.int32), -1)
    later = jnp.where((there & ~picked.begins)[1:, :, None], action, -1)
    return Batch(
        obs=obs,
        state=world_state,
        avail=avail,
        last_action=jnp.concatenate([first[None], later]),
        reset=picked.begins,
        action=action,
        reward=jnp.where(step, slots.reward[:-1], 0.0),
        terminated=step & (slots.flags[:-1] == TERMINATED),
        truncated=step & (slots.flags[:-1] == TRUNCATED),
        mask=(step & picked.learnt[:-1]).astype(jnp.float32),
    )
