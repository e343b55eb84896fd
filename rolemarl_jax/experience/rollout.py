"""Acting in many worlds at once, episode after episode."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.experience.replay import Block
from rolemarl_jax.experience.store import Store
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.rng import named
from rolemarl_jax.trees import choose
from rolemarl_jax.types import (
    AgentState,
    Array,
    Env,
    EnvState,
    Key,
    LearnerState,
    PyTree,
)


class Worlds(NamedTuple):
    """W worlds in mid-episode, and what their agents remember."""

    env: EnvState  # [W, ...]
    agents: AgentState  # [W, ...]
    ret: Array  # [W] return so far
    length: Array  # [W] int32 steps so far


class Episodes(NamedTuple):
    """Sums over the episodes that ended (divide by ``count``)."""

    count: Array
    ret: Array
    won: Array
    length: Array


def beginning(carry: PyTree, worlds: int, n_agents: int) -> AgentState:
    """Agents of W worlds whose episodes are about to begin."""
    return AgentState(
        carry=carry,
        last_action=jnp.full((worlds, n_agents), -1, jnp.int32),
        reset=jnp.ones(worlds, bool),
    )


@dataclass(frozen=True)
class Rollout:
    """Collection of experience.

    Attributes:
        init: ``key -> Worlds``.
        collect: ``(LearnerState, Worlds, first tick, key) -> (Worlds, Block,
            Episodes)``; ticks are counted over the whole run, unbatched.
        ticks: environment steps of each world in one call.
    """

    init: Callable[[Key], Worlds]
    collect: Callable[
        [LearnerState, Worlds, Array, Key], tuple[Worlds, Block, Episodes]
    ]
    ticks: int


def make_rollout(
    env: Env, learner: Learner, store: Store, worlds: int, ticks: int
) -> Rollout:
    """Collection with ``worlds`` worlds, ``ticks`` steps of each a call.

    A world whose episode ended is replaced by a fresh one within the same tick, and
    nothing is computed for it in ticks in which none ended (unless seeds are batched);
    the terminal world is kept in the block. All agents' recurrent state starts anew
    with the episode, whether they were alive or dead.
    """
    n_agents = env.spec.n_agents

    def init(key: Key) -> Worlds:
        states = jax.vmap(env.reset)(jax.random.split(named(key, "reset"), worlds))
        return Worlds(
            env=states,
            agents=beginning(learner.carry(worlds), worlds, n_agents),
            ret=jnp.zeros(worlds),
            length=jnp.zeros(worlds, jnp.int32),
        )

    def replaced(after: EnvState, ended: Array, key: Key) -> EnvState:
        fresh = jax.vmap(env.reset)(jax.random.split(named(key, "reset"), worlds))
        return choose(ended, fresh, after)

    def tick(
        state: LearnerState, now: Worlds, at: Array, key: Key
    ) -> tuple[Worlds, tuple[Block, Episodes]]:
        key = named(key, "tick", at)
        observation = jax.vmap(env.observe)(now.env)
        epsilon = learner.epsilon(at * worlds)
        actions, carry = learner.act(state, now.agents, observation, epsilon, key)
        step_keys = jax.random.split(named(key, "step"), worlds)
        after, step = jax.vmap(env.step)(step_keys, now.env, actions)
        ended = step.terminated | step.truncated
        ret, length = now.ret + step.reward, now.length + 1
        block = Block(
            world=jax.vmap(store.encode)(now.env),
            final=jax.vmap(store.encode)(after),
            action=actions,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
        )
        episodes = Episodes(
            count=ended.sum(),
            ret=(ret * ended).sum(),
            won=(step.won & ended).sum(),
            length=(length * ended).sum(),
        )
        worlds_next = Worlds(
            env=jax.lax.cond(
                ended.any(), replaced, lambda after, *_: after, after, ended, key
            ),
            agents=AgentState(
                carry=carry,
                last_action=jnp.where(ended[:, None], -1, actions),
                reset=ended,
            ),
            ret=jnp.where(ended, 0.0, ret),
            length=jnp.where(ended, 0, length),
        )
        return worlds_next, (block, episodes)

    def collect(
        state: LearnerState, now: Worlds, first: Array, key: Key
    ) -> tuple[Worlds, Block, Episodes]:
        now, (block, episodes) = jax.lax.scan(
            lambda now, at: tick(state, now, at, key), now, first + jnp.arange(ticks)
        )
        return now, block, jax.tree.map(lambda x: x.sum(0), episodes)

    return Rollout(init, collect, ticks)
