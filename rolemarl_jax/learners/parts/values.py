"""Acting by action values: epsilon-greedy while learning, greedy when judged."""

import jax.numpy as jnp

from rolemarl_jax.learners.parts.epsilon import epsilon_greedy
from rolemarl_jax.learners.parts.learner import ActFn, GreedyFn, ScoresFn
from rolemarl_jax.nets.mixers import Mixer
from rolemarl_jax.ops import td
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Feats, Moment, RoleMethod, last, one_step
from rolemarl_jax.roles.parts.phase import Metrics, Params
from rolemarl_jax.roles.parts.view import RoleMetricsFn, RoleView, attended
from rolemarl_jax.types import AgentState, Array, Key, LearnerState, Observation, PyTree


def exploring(method: RoleMethod, *, joint: bool) -> ActFn:
    """Epsilon-greedy actions `[B, N]`, as the method changes them.

    Args:
        joint: whether a world's agents share one coin.
    """

    def act(
        state: LearnerState,
        agents: AgentState,
        observation: Observation,
        epsilon: Array,
        key: Key,
    ) -> tuple[Array, PyTree]:
        role_key, coin = named(key, "role"), named(key, "explore")
        q, carry, _ = _values(method, state, agents, observation, role_key)
        actions = epsilon_greedy(q, observation.avail, epsilon, coin, joint=joint)
        moment = Moment(state, observation, agents.reset, named(key, "method"))
        return method.explore(moment, actions, carry)

    return act


def greedy(method: RoleMethod) -> GreedyFn:
    """Actions `[B, N]` of the highest value among those available."""

    def act(
        state: LearnerState, agents: AgentState, observation: Observation
    ) -> tuple[Array, PyTree, Feats]:
        q, carry, feats = _values(method, state, agents, observation, None)
        q = td.mask_unavailable(q, observation.avail)
        return jnp.argmax(q, axis=-1).astype(jnp.int32), carry, feats

    return act


def scores(method: RoleMethod) -> ScoresFn:
    """Action values `[B, N, A]` with role features `[B, N, ...]` of one's choice."""

    def act(
        state: LearnerState, agents: AgentState, observation: Observation, feats: Feats
    ) -> Array:
        x, given = one_step(observation, agents), {n: f[None] for n, f in feats.items()}
        return method.q_values(state.params, x, given, agents.carry)[0].q[0]

    return act


def role_metrics(method: RoleMethod, mixer: Mixer) -> RoleMetricsFn:
    """What the method tells, and how the mixer attends to roles where it does."""
    attention = mixer.attention
    if attention is None:
        return method.role_metrics

    def tell(params: Params, view: RoleView) -> Metrics:
        weight = attention(params, view.state, view.reset, view.role)
        return method.role_metrics(params, view) | attended(weight, view)

    return tell


def _values(
    method: RoleMethod,
    state: LearnerState,
    agents: AgentState,
    observation: Observation,
    key: Key | None,
) -> tuple[Array, PyTree, Feats]:
    """Action values `[B, N, A]` of one step, recurrent state after it, features."""
    x = one_step(observation, agents)
    feats, encoded = method.encode(state.params, x, agents.carry, key)
    out, hidden = method.q_values(state.params, x, feats, agents.carry)
    now = {name: value[0] for name, value in out.feats.items()}
    return out.q[0], last(agents.carry, encoded, hidden), now
