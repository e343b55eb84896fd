"""The block just collected, as the rows that value learners read.

Each world's steps become one row in which episodes follow one another as in replay: a
terminal observation has a slot of its own, and so has what was seen after the last
step. Rows go on in mid-episode with the recurrent state that acted.
"""

from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax.experience.replay import Block
from rolemarl_jax.experience.store import Store
from rolemarl_jax.trees import choose
from rolemarl_jax.types import AgentState, Array, Batch


def slots_of(steps: int, ends: int) -> int:
    """Slots of a row: its steps, terminal observations, and the last observation."""
    return steps + ends + 1


def as_rows(block: Block, agents: AgentState, store: Store, ends: int) -> Batch:
    """A block of n steps of W worlds as n + ``ends`` transitions of W rows.

    A world in which more episodes than ``ends`` ended before the last step has no room
    for its last steps; these are left out.

    Args:
        agents: what they brought into the first step.
    """
    ticks, worlds = block.reward.shape
    lanes, slots = jnp.arange(worlds), slots_of(ticks, ends)
    step = jnp.broadcast_to(jnp.arange(ticks)[:, None], (ticks, worlds))
    ended = block.terminated | block.truncated
    position = step + jnp.cumsum(ended, axis=0) - ended
    after = jnp.where(ended | (step == ticks - 1), position + 1, slots)

    def laid_out(at: Array) -> Array:
        """Step that each slot belongs to, `[slots, W]`; -1 where there is none."""
        nothing = jnp.full((slots, worlds), -1, jnp.int32)
        return nothing.at[at, lanes].set(step, mode="drop")

    acted, final = laid_out(position), laid_out(after)
    is_step, is_final = acted >= 0, final >= 0
    at = jnp.maximum(acted, 0), lanes
    led = jnp.maximum(jnp.where(is_final, final, acted - 1), 0), lanes

    own = jax.tree.map(lambda x: x[at], block.world)
    later = jax.tree.map(lambda x: x[led], block.final)
    seen = jax.vmap(jax.vmap(store.decode))(choose(is_final, later, own))
    there = is_step | is_final
    seen = choose(there, seen, jax.tree.map(jnp.zeros_like, seen))

    first = acted == 0
    reset = is_step & jnp.where(first, agents.reset, ended[led])
    last = jnp.where(first[..., None], agents.last_action, block.action[led])
    real = is_step[:-1]

    def transition(x: Array) -> Any:
        x = x[at][:-1]
        return jnp.where(real.reshape(real.shape + (1,) * (x.ndim - 2)), x, 0)

    return Batch(
        obs=seen.obs,
        state=seen.state,
        avail=seen.avail,
        last_action=jnp.where((there & ~reset)[..., None], last, -1),
        reset=reset,
        action=transition(block.action),
        reward=transition(block.reward),
        terminated=real & block.terminated[at][:-1],
        truncated=real & block.truncated[at][:-1],
        mask=real.astype(jnp.float32),
        carry=agents.carry,
    )
