"""Acting of stochastic policies: drawn while learning, the likeliest when judged."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from rolemarl_jax.learners.parts.learner import ActFn, GreedyFn, ScoresFn
from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Feats, PolicyMethod, last, one_step
from rolemarl_jax.types import AgentState, Array, Key, LearnerState, Observation, PyTree


class Looked(NamedTuple):
    """What a policy makes of one step of B worlds."""

    logits: Array  # [B, N, A]
    carry: PyTree  # recurrent state after the step
    feats: Feats  # [B, N, ...]


class LookFn(Protocol):
    """A policy's view of one step."""

    def __call__(  # noqa: D102
        self, state: LearnerState, agents: AgentState, observation: Observation, /
    ) -> Looked: ...


def sampling(look: LookFn) -> ActFn:
    """Actions `[B, N]` drawn from the policy."""

    def act(
        state: LearnerState,
        agents: AgentState,
        observation: Observation,
        epsilon: Array,
        key: Key,
    ) -> tuple[Array, PyTree]:
        del epsilon
        looked = look(state, agents, observation)
        policy = categorical(looked.logits, observation.avail)
        action = policy.sample(seed=named(key, "action"))
        return action.astype(jnp.int32), looked.carry

    return act


def likeliest(look: LookFn) -> GreedyFn:
    """The likeliest actions `[B, N]`."""

    def greedy(
        state: LearnerState, agents: AgentState, observation: Observation
    ) -> tuple[Array, PyTree, Feats]:
        looked = look(state, agents, observation)
        best = categorical(looked.logits, observation.avail).mode()
        return jnp.asarray(best, jnp.int32), looked.carry, looked.feats

    return greedy


def scores(method: PolicyMethod) -> ScoresFn:
    """Logits `[B, N, A]` with role features `[B, N, ...]` of one's choice."""

    def act(
        state: LearnerState, agents: AgentState, observation: Observation, feats: Feats
    ) -> Array:
        x, given = one_step(observation, agents), {n: f[None] for n, f in feats.items()}
        return method.logits(state.params, x, given, agents.carry)[0][0]

    return act


def without_roles(look: LookFn) -> ScoresFn:
    """Logits `[B, N, A]` of a policy that has no role features to be changed."""

    def act(
        state: LearnerState, agents: AgentState, observation: Observation, feats: Feats
    ) -> Array:
        del feats
        return look(state, agents, observation).logits

    return act


def feed_forward(logits: Callable[[PyTree, Array], Array]) -> LookFn:
    """Of policies that remember nothing: ``(params, obs [B, N, O]) -> [B, N, A]``."""

    def look(
        state: LearnerState, agents: AgentState, observation: Observation
    ) -> Looked:
        return Looked(logits(state.params["policy"], observation.obs), agents.carry, {})

    return look


def of_method(method: PolicyMethod, *, critic: bool) -> LookFn:
    """Of a policy method.

    Args:
        critic: whether the critic's recurrent state moves too, because learning goes
            on from it; its head has no use here and is compiled away.
    """

    def look(
        state: LearnerState, agents: AgentState, observation: Observation
    ) -> Looked:
        x, params, carry = one_step(observation, agents), state.params, agents.carry
        feats, encoded = method.encode(params, x, carry, None)
        logits, hidden = method.logits(params, x, feats, carry)
        parts = [encoded, hidden]
        if critic:
            team = observation.state[None]
            parts.append(method.value(params, x, team, feats, carry)[1])
        now = {name: value[0] for name, value in feats.items()}
        return Looked(logits[0], last(carry, *parts), now)

    return look
