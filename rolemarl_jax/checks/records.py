"""What the functions of a method's record return, traced on shapes alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax.checks.findings import (
    Finding,
    Stop,
    fault,
    mismatch,
    same_tree,
    traced,
)
from rolemarl_jax.roles.parts.method import PolicyMethod, RoleMethod
from rolemarl_jax.types import AgentOut, EnvSpec, Inputs, shaped

T, B = 3, 2  # of the sequences that shapes are taken of


def record_faults(method: RoleMethod | PolicyMethod, spec: EnvSpec) -> list[Finding]:
    """What the record returns that learners do not expect.

    Raises:
        Stop: a function that cannot be traced.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = traced("init(key)", method.init, key)
    if not isinstance(params, Mapping) or not params:
        return [
            fault(
                f"init(key): got {type(params).__name__}; allowed: parameters by group"
            )
        ]
    carry = traced("carry(rows)", lambda: method.carry(B))
    found = list(_carry_faults(carry))
    if found:
        return found
    x = _inputs(spec)
    feats, encoded = _pair(
        "encode", traced("encode(...)", method.encode, params, x, carry, key)
    )
    found += _feats_faults("encode's feats", feats, spec)
    means = traced(
        "encode(..., None)",
        lambda own, x, begun: method.encode(own, x, begun, None),
        *(params, x, carry),
    )
    greedy, _ = _pair("encode", means)
    found += same_tree("encode's feats without a key", greedy, feats, "those with one")
    if found:
        return found
    heads = _value_heads if isinstance(method, RoleMethod) else _policy_heads
    found += heads(method, spec, params, x, feats, carry, encoded)
    return found


def _value_heads(
    method: Any, spec: EnvSpec, params: Any, x: Any, feats: Any, carry: Any, known: Any
) -> Iterator[Finding]:
    """Action values, recurrent states after them, and the target's features."""
    made = traced("q_values(...)", method.q_values, params, x, feats, carry)
    out, hidden = _pair("q_values", made)
    if not isinstance(out, AgentOut):
        yield fault(f"q_values: got {type(out).__name__}; allowed: an AgentOut first")
        return
    shape = (T, B, spec.n_agents, spec.n_actions)
    yield from mismatch("q_values' q", out.q, shape, jnp.float32)
    yield from _hidden_faults({**known, **hidden}, carry)
    lacking = sorted(set(method.target_groups) - set(params))
    if lacking:
        yield fault(
            f"target_groups: got {', '.join(lacking)}, which init does not make; "
            f"allowed: {', '.join(sorted(params))}"
        )
        return
    if method.target_feats is None:
        return
    key = jax.eval_shape(lambda: jax.random.key(0))
    target = {**params, **{group: params[group] for group in method.target_groups}}
    judge = traced("target_feats(...)", method.target_feats, target, x, out.feats, key)
    traced("q_values of target_feats", method.q_values, params, x, judge, carry)


def _policy_heads(
    method: Any, spec: EnvSpec, params: Any, x: Any, feats: Any, carry: Any, known: Any
) -> Iterator[Finding]:
    """Logits, values, and recurrent states after both."""
    made = traced("logits(...)", method.logits, params, x, feats, carry)
    logits, acted = _pair("logits", made)
    shape = (T, B, spec.n_agents, spec.n_actions)
    yield from mismatch("logits", logits, shape, jnp.float32)
    state = shaped((T, B, spec.state_dim), jnp.float32)
    made = traced("value(...)", method.value, params, x, state, feats, carry)
    value, judged = _pair("value", made)
    yield from mismatch("value", value, shape[:-1], jnp.float32)
    yield from _hidden_faults({**known, **acted, **judged}, carry)
    claimed = (*method.actor_groups, *method.critic_groups, *method.no_gradient)
    phased = {group for phase in method.phases for group in phase.lr}
    idle = sorted(set(params) - set(claimed) - phased)
    if idle:
        yield fault(f"init makes {', '.join(idle)}, which nothing trains")


def _carry_faults(carry: Any) -> Iterator[Finding]:
    """Recurrent states are arrays `[B, ...]` by name."""
    if not isinstance(carry, Mapping):
        yield fault(f"carry(rows): got {type(carry).__name__}; allowed: arrays by name")
        return
    for name, one in carry.items():
        if one.shape[:1] != (B,):
            yield fault(
                f"carry(rows)['{name}']: got {[*one.shape]} with rows={B}; allowed: "
                "rows first"
            )


def _feats_faults(name: str, feats: Any, spec: EnvSpec) -> Iterator[Finding]:
    """Features are arrays `[T, B, N, ...]` by name."""
    if not isinstance(feats, Mapping):
        yield fault(f"{name}: got {type(feats).__name__}; allowed: arrays by name")
        return
    lead = (T, B, spec.n_agents)
    for key, one in feats.items():
        if one.shape[:3] != lead:
            yield fault(
                f"{name}['{key}']: got {[*one.shape]}; allowed: [T, B, N, ...], here "
                f"{[*lead]} first"
            )


def _hidden_faults(hidden: Mapping[str, Any], carry: Mapping) -> Iterator[Finding]:
    """After every step there is a recurrent state of each name that ``carry`` has."""
    if extra := sorted(set(hidden) - set(carry)):
        yield fault(
            f"recurrent states {', '.join(extra)} are returned and carry(rows) has "
            f"none such; it has {', '.join(sorted(carry)) or 'nothing'}"
        )
        return
    for name, one in hidden.items():
        wanted = (T, *carry[name].shape)
        yield from mismatch(f"recurrent state '{name}'", one, wanted, carry[name].dtype)


def _pair(name: str, made: Any) -> tuple[Any, Any]:
    """Both parts of what a function returns.

    Raises:
        Stop: it returns something else.
    """
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Mapping):
        return made
    raise Stop(
        fault(
            f"{name}: got {type(made).__name__}; allowed: a pair, the second of which "
            "are recurrent states by name ({} if there are none)"
        )
    )


def _inputs(spec: EnvSpec) -> Inputs:
    """Shapes of what a policy reads."""
    return Inputs(
        obs=shaped((T, B, spec.n_agents, spec.obs_dim), jnp.float32),
        last_action=shaped((T, B, spec.n_agents), jnp.int32),
        reset=shaped((T, B), jnp.bool_),
    )
