"""Greedy episodes that are looked at: whatever a note takes down of every step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.experience.rollout import beginning
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Feats
from rolemarl_jax.trees import choose
from rolemarl_jax.types import (
    AgentState,
    Array,
    Env,
    EnvState,
    Key,
    LearnerState,
    Observation,
    PyTree,
)


class Glance(NamedTuple):
    """One step of W worlds, before the worlds move."""

    world: EnvState  # [W, ...]
    observation: Observation  # [W, ...]
    agents: AgentState  # what acted
    action: Array  # [W, N] int32
    feats: Feats  # [W, N, ...], role features
    at: Array  # [] int32, steps before this one


Note = Callable[[LearnerState, Glance], PyTree]
"""What is kept of a step, leaves `[W, ...]`."""


class Seen(NamedTuple):
    """W episodes over T steps, T being the time limit."""

    noted: PyTree  # [T, W, ...], as the note made it
    reward: Array  # [T, W] float32, zero once the episode has ended
    playing: Array  # [T, W] bool, whether the step was still to be played
    won: Array  # [W] bool
    last: EnvState  # [W, ...], the states that the episodes ended in


Watch = Callable[[LearnerState, Key], Seen]


class _Stage(NamedTuple):
    world: EnvState
    agents: AgentState
    playing: Array  # [W] bool
    won: Array  # [W] bool


def make_watch(env: Env, learner: Learner, worlds: int, note: Note) -> Watch:
    """A function that plays one greedy episode in each of W = ``worlds`` worlds.

    All worlds go on to the time limit; a world that has ended stands still.
    """

    def watch(state: LearnerState, key: Key) -> Seen:
        keys = jax.random.split(named(key, "reset"), worlds)
        stage = _Stage(
            world=jax.vmap(env.reset)(keys),
            agents=beginning(learner.carry(worlds), worlds, env.spec.n_agents),
            playing=jnp.ones(worlds, bool),
            won=jnp.zeros(worlds, bool),
        )

        def step(stage: _Stage, t: Array) -> tuple[_Stage, tuple]:
            observation = jax.vmap(env.observe)(stage.world)
            agents = stage.agents._replace(reset=jnp.full(worlds, t == 0))
            action, carry, feats = learner.greedy(state, agents, observation)
            glance = Glance(stage.world, observation, agents, action, feats, t)
            seen = note(state, glance)
            keys = jax.random.split(named(key, "step", t), worlds)
            moved, now = jax.vmap(env.step)(keys, stage.world, action)
            going, won = stage.playing, stage.won | (now.won & stage.playing)
            after = _Stage(
                world=choose(going, moved, stage.world),
                agents=agents._replace(carry=carry, last_action=action),
                playing=going & ~(now.terminated | now.truncated),
                won=won,
            )
            return after, (seen, jnp.where(going, now.reward, 0.0), going)

        steps = jnp.arange(env.spec.episode_limit)
        end, (noted, reward, playing) = jax.lax.scan(step, stage, steps)
        return Seen(noted, reward, playing, end.won, end.world)

    return watch
