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
from rolemarl_jax.learners.parts.check import batch_shapes
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.roles.parts.method import Moment, PolicyMethod, RoleMethod, begun
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.roles.parts.view import RoleView
from rolemarl_jax.types import (
    AgentOut,
    Batch,
    EnvSpec,
    Inputs,
    Key,
    LearnerState,
    Observation,
    shaped,
)

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


def acting_faults(
    method: RoleMethod | PolicyMethod, learner: Learner
) -> Iterator[Finding]:
    """What functions return that read the learner's state, which has the method's own.

    Raises:
        Stop: a function that cannot be traced.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = traced("the learner's init(key)", learner.init, key)
    carry = traced("carry(rows)", lambda: method.carry(B))
    yield from _metrics_faults(method, learner, state.params, carry)
    if isinstance(method, RoleMethod):
        yield from _explore_faults(method, learner.spec, state, carry)
        yield from _intrinsic_faults(method, learner.spec, state)


def _metrics_faults(
    method: Any, learner: Learner, params: Any, carry: Any
) -> Iterator[Finding]:
    """What is told of roles is a scalar by name, and asked only where there are any."""
    spec, x = learner.spec, _inputs(learner.spec)
    feats, _ = jax.eval_shape(lambda *a: method.encode(*a, None), params, x, carry)
    if "role" not in feats:
        return
    seen, agents = (T, B), (T, B, spec.n_agents)
    view = RoleView(
        role=feats["role"],
        state=shaped((*seen, spec.state_dim), jnp.float32),
        reset=shaped(seen, jnp.bool_),
        kind=shaped(agents, jnp.int32),
        playing=shaped(seen, jnp.bool_),
        there=shaped(agents, jnp.bool_),
    )
    made = traced("role_metrics(params, view)", method.role_metrics, params, view)
    if not isinstance(made, Mapping):
        yield fault(
            f"role_metrics: got {type(made).__name__}; allowed: scalars by name"
        )
        return
    for name, one in made.items():
        if one.shape != ():
            yield fault(
                f"role_metrics' '{name}': got {[*one.shape]}; allowed: a scalar, []"
            )


def _explore_faults(
    method: RoleMethod, spec: EnvSpec, state: LearnerState, carry: Any
) -> Iterator[Finding]:
    """Actions that exploring changes are actions, its recurrent state is carried on."""
    n, actions = spec.n_agents, shaped((B, spec.n_agents), jnp.int32)
    look = Observation(
        obs=shaped((B, n, spec.obs_dim), jnp.float32),
        state=shaped((B, spec.state_dim), jnp.float32),
        avail=shaped((B, n, spec.n_actions), jnp.bool_),
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    moment = Moment(state, look, shaped((B,), jnp.bool_), key)
    made = traced("explore(...)", method.explore, moment, actions, carry)
    chosen, after = _pair("explore", made)
    yield from mismatch("explore's actions", chosen, actions.shape, actions.dtype)
    yield from same_tree("explore's recurrent states", after, carry, "carry(rows)")


def _intrinsic_faults(
    method: RoleMethod, spec: EnvSpec, state: LearnerState
) -> Iterator[Finding]:
    """A reward of the method's own is one number, or one of each step."""

    def reward(state: LearnerState, batch: Batch, key: Key) -> tuple[Any, Any]:
        ctx = Context(state, batch, key)
        batch, _ = method.experience(ctx)
        x, carry = batch.inputs, begun(batch, method.carry)
        feats, _ = method.encode(state.params, x, carry, key)
        out, _ = method.q_values(state.params, x, feats, carry)
        return method.intrinsic(ctx._replace(batch=batch), out).reward, batch.mask

    key = jax.eval_shape(lambda: jax.random.key(0))
    got, mask = traced("intrinsic(...)", reward, state, batch_shapes(spec, T, B), key)
    if got.shape not in ((), mask.shape):
        yield fault(
            f"intrinsic's reward: got {[*got.shape]}; allowed: a scalar, or [T, B], "
            f"here {[*mask.shape]}"
        )


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
    yield from _feats_faults("q_values' feats", out.feats, spec)
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
    faults = [*_feats_faults("target_feats", judge, spec)]
    if not faults:
        both = sorted(judge.keys() & feats.keys())
        judged, own = ({key: tree[key] for key in both} for tree in (judge, feats))
        faults = same_tree("target_feats", judged, own, "encode's feats")
    yield from faults
    if not faults:
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
    """Features are arrays `[T, B, N, ...]` by name; those named role have one axis."""
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
        elif key == "role" and len(one.shape) != len(lead) + 1:
            yield fault(
                f"{name}['role']: got {[*one.shape]}; allowed: [T, B, N, Z], for roles "
                "are clustered and judged; name features of other shapes otherwise"
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
