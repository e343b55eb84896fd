"""Stochastic and greedy acting of policy methods."""

from typing import Any

import jax.numpy as jnp

from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.policy_method import PolicyMethod
from rolemarl_jax.types import Array, Inputs, Key, LearnerState, Observation, PyTree


def policies(method: PolicyMethod) -> tuple[Any, Any]:
    """Sampling and greedy policies over one time step of many worlds.

    The sampling one moves the critic's recurrent state too, because learning goes on
    from it; the critic's head has no use here and is compiled away.
    """

    def look(
        state: LearnerState,
        carry: PyTree,
        seen: Observation,
        last_action: Array,
        reset: Array,
    ) -> tuple[Inputs, dict[str, Array], Array, PyTree]:
        x = Inputs(seen.obs[None], last_action[None], reset[None])
        feats, encoded = method.encode(state.params, x, carry)
        logits, acted = method.logits(state.params, x, feats, carry)
        return x, feats, logits[0], {**encoded, **acted}

    def act(
        state: LearnerState,
        carry: PyTree,
        seen: Observation,
        last_action: Array,
        reset: Array,
        epsilon: Array,
        key: Key,
    ) -> tuple[Array, PyTree]:
        del epsilon
        x, feats, logits, moved = look(state, carry, seen, last_action, reset)
        _, judged = method.value(state.params, x, seen.state[None], feats, carry)
        policy = categorical(logits, seen.avail)
        action = policy.sample(seed=named(key, "action"))
        hidden = {**moved, **judged}
        return action.astype(jnp.int32), {n: h[-1] for n, h in hidden.items()}

    def greedy(
        state: LearnerState,
        carry: PyTree,
        seen: Observation,
        last_action: Array,
        reset: Array,
    ) -> tuple[Array, PyTree, dict[str, Array]]:
        _, feats, logits, moved = look(state, carry, seen, last_action, reset)
        action = jnp.asarray(categorical(logits, seen.avail).mode(), jnp.int32)
        now = {name: value[0] for name, value in feats.items()}
        return action, {**carry, **{n: h[-1] for n, h in moved.items()}}, now

    return act, greedy
