"""Acting for whichever workers are ready, in a batch of a fixed shape."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.experience.rollout import beginning
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.trees import choose
from rolemarl_jax.types import AgentState, Array, Key, LearnerState, Observation


class PolicyFn(Protocol):
    """One step for the workers that are ready.

    ``observation`` is `[W, ...]`, ``ready`` and ``fresh`` are `[W]` bool, ``t`` counts
    env steps. Rows of ``agents`` that are not ready keep what they remember, rows that
    are fresh begin an episode.
    """

    def __call__(  # noqa: D102
        self,
        state: LearnerState,
        agents: AgentState,
        observation: Observation,
        ready: Array | np.ndarray,
        fresh: Array | np.ndarray,
        t: Array,
        key: Key,
        /,
    ) -> tuple[Array, AgentState]: ...


def make_act(learner: Learner, *, greedy: bool) -> PolicyFn:
    """The compiled policy; only values change between calls: it is compiled once."""

    def act(
        state: LearnerState,
        agents: AgentState,
        observation: Observation,
        ready: Array,
        fresh: Array,
        t: Array,
        key: Key,
    ) -> tuple[Array, AgentState]:
        last = jnp.where(fresh[:, None], -1, agents.last_action)
        now = AgentState(agents.carry, last, fresh)
        if greedy:
            actions, carry, _ = learner.greedy(state, now, observation)
        else:
            epsilon = learner.epsilon(t)
            actions, carry = learner.act(state, now, observation, epsilon, key)
        moved = agents._replace(carry=carry, last_action=actions)
        return actions, choose(ready, moved, agents)

    return jax.jit(act, donate_argnums=1)


class Actor:
    """A policy with the memory of its agents."""

    def __init__(self, learner: Learner, workers: int, act: PolicyFn, key: Key) -> None:
        self._act, self._key, self._calls = act, key, 0
        # Copies: a carry may hold one array twice, and agents are donated.
        carry = jax.tree.map(jnp.copy, learner.carry(workers))
        self._agents = beginning(carry, workers, learner.spec.n_agents)

    def __call__(
        self,
        state: LearnerState,
        observation: Observation,
        ready: np.ndarray,
        fresh: np.ndarray,
        t: int,
    ) -> np.ndarray:
        """Actions `[W, N]`; those of workers that are not ready mean nothing."""
        key = jax.random.fold_in(self._key, self._calls)
        self._calls += 1
        steps = jnp.asarray(t, jnp.int32)
        actions, self._agents = self._act(
            state, self._agents, observation, ready, fresh, steps, key
        )
        return np.asarray(actions)


def stack(shape: Any, workers: int) -> Observation:
    """Host arrays that the newest observation of each worker is copied into."""
    arrays: Any = (
        np.zeros((workers, shape.n_agents, shape.obs_dim), np.float32),
        np.zeros((workers, shape.state_dim), np.float32),
        np.ones((workers, shape.n_agents, shape.n_actions), bool),
    )
    return Observation(*arrays)
