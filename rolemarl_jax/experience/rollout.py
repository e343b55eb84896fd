"""Acting in many worlds at once, episode after episode."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
    Step,
)


class Worlds(NamedTuple):
    """W worlds in mid-episode, and what their agents remember."""

    env: EnvState  # [W, ...]
    agents: AgentState  # [W, ...]
    ret: Array  # [W] return so far
    length: Array  # [W] int32 steps so far


class Moment(NamedTuple):
    """What a tick is given."""

    at: Array  # its number, over the whole run
    key: Key
    fresh: EnvState | None  # [W, ...] worlds for those that end, where made ahead


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
    env: Env,
    learner: Learner,
    store: Store,
    worlds: int,
    ticks: int,
    *,
    ahead: bool = False,
) -> Rollout:
    """Collection with ``worlds`` worlds, ``ticks`` steps of each a call.

    A world whose episode ended is replaced by a fresh one within the same tick; the
    terminal world is kept in the block. All agents' recurrent state starts anew with
    the episode, whether they were alive or dead.

    Args:
        ahead: whether the fresh worlds of all ticks are made at once, as where seeds
            are batched, each of which may need one; otherwise nothing is computed for
            them in ticks in which no episode ended. The worlds are the same.
    """
    n_agents = env.spec.n_agents

    def fresh(key: Key) -> EnvState:
        return jax.vmap(env.reset)(jax.random.split(named(key, "reset"), worlds))

    def init(key: Key) -> Worlds:
        return Worlds(
            env=fresh(key),
            agents=beginning(learner.carry(worlds), worlds, n_agents),
            ret=jnp.zeros(worlds),
            length=jnp.zeros(worlds, jnp.int32),
        )

    def going_on(after: EnvState, ended: Array, moment: Moment) -> EnvState:
        """Worlds after a tick, with fresh ones where episodes ended."""
        if moment.fresh is not None:
            return choose(ended, moment.fresh, after)
        return jax.lax.cond(
            ended.any(),
            lambda: choose(ended, fresh(moment.key), after),
            lambda: after,
        )

    def tick(
        state: LearnerState, now: Worlds, moment: Moment
    ) -> tuple[Worlds, tuple[Block, Episodes]]:
        at, key, _ = moment
        observation = jax.vmap(env.observe)(now.env)
        epsilon = learner.epsilon(at * worlds)
        actions, carry = learner.act(state, now.agents, observation, epsilon, key)
        step_keys = jax.random.split(named(key, "step"), worlds)
        after, step = jax.vmap(env.step)(step_keys, now.env, actions)
        ended = step.terminated | step.truncated
        ret, length = now.ret + step.reward, now.length + 1
        block = _block(store, now.env, actions, after, step)
        episodes = _ended(ended, ret, length, step.won)
        worlds_next = Worlds(
            env=going_on(after, ended, moment),
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
        at = first + jnp.arange(ticks)
        keys = jax.vmap(lambda t: named(key, "tick", t))(at)
        moments = Moment(at, keys, jax.vmap(fresh)(keys) if ahead else None)
        now, (block, episodes) = jax.lax.scan(partial(tick, state), now, moments)
        return now, block, jax.tree.map(lambda x: x.sum(0), episodes)

    return Rollout(init, collect, ticks)


def _block(
    store: Store, before: EnvState, actions: Array, after: EnvState, step: Step
) -> Block:
    """A tick of W worlds as it is kept."""
    return Block(
        world=jax.vmap(store.encode)(before),
        final=jax.vmap(store.encode)(after),
        action=actions,
        reward=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
    )


def _ended(ended: Array, ret: Array, length: Array, won: Array) -> Episodes:
    """Sums of a tick over those of W worlds whose episodes ended with it."""
    return Episodes(
        count=ended.sum(),
        ret=(ret * ended).sum(),
        won=(won & ended).sum(),
        length=(length * ended).sum(),
    )
