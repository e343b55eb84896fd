"""Stochastic and greedy acting of policy methods."""

import jax.numpy as jnp

from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import (
    Feats,
    Hidden,
    PolicyMethod,
    last,
    one_step,
)
from rolemarl_jax.types import (
    AgentState,
    Array,
    Inputs,
    Key,
    LearnerState,
    Observation,
    PyTree,
)


def act(
    method: PolicyMethod,
    state: LearnerState,
    agents: AgentState,
    observation: Observation,
    epsilon: Array,
    key: Key,
) -> tuple[Array, PyTree]:
    """Actions `[B, N]` drawn from the policy, and the recurrent state after them.

    The critic's recurrent state moves too, because learning goes on from it; the
    critic's head has no use here and is compiled away.
    """
    del epsilon
    x, feats, logits, hidden = _forward(method, state, agents, observation)
    _, judged = method.value(
        state.params, x, observation.state[None], feats, agents.carry
    )
    action = categorical(logits, observation.avail).sample(seed=named(key, "action"))
    return action.astype(jnp.int32), last({}, hidden, judged)


def greedy(
    method: PolicyMethod,
    state: LearnerState,
    agents: AgentState,
    observation: Observation,
) -> tuple[Array, PyTree, Feats]:
    """The likeliest actions `[B, N]`; the critic's recurrent state stays."""
    _, feats, logits, hidden = _forward(method, state, agents, observation)
    action = jnp.asarray(categorical(logits, observation.avail).mode(), jnp.int32)
    now = {name: value[0] for name, value in feats.items()}
    return action, last(agents.carry, hidden), now


def _forward(
    method: PolicyMethod,
    state: LearnerState,
    agents: AgentState,
    observation: Observation,
) -> tuple[Inputs, Feats, Array, Hidden]:
    """Inputs, features, logits `[B, N, A]` and hidden states of one step."""
    x = one_step(observation, agents)
    feats, encoded = method.encode(state.params, x, agents.carry, None)
    logits, acted = method.logits(state.params, x, feats, agents.carry)
    return x, feats, logits[0], {**encoded, **acted}
