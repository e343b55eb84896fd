"""What is wrong with a role method: its record, how it remembers, what it learns."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax import outside, roles
from rolemarl_jax.checks import samples
from rolemarl_jax.checks.findings import Finding, Stop, fault, note, reason
from rolemarl_jax.checks.records import record_faults
from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts.learner import Learner, UpdateOut
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import PolicyMethod, RoleMethod, last
from rolemarl_jax.types import Array, EnvSpec, Inputs, PyTree

UPDATES = 2
TOLERANCE = 1e-4
Method = RoleMethod | PolicyMethod


class Passes(NamedTuple):
    """Outputs `[T, B, N, ...]` of the same network over the same sequence."""

    whole: Array
    stepwise: Array  # a step at a time, as it acts
    other_past: Array  # the first episode of each row changed
    other_row: Array  # the second row changed


def check_method(
    algo: Mapping[str, Any], spec: EnvSpec, seed: int = 0
) -> list[Finding]:
    """Everything that is found wrong with a method; empty if nothing is.

    Shapes and types of what its record returns, then whether it acts as it learns,
    then two updates on experience drawn by chance: losses and gradients that are not
    finite, and parameters that no gradient reaches.

    Args:
        algo: mapping of an algorithm, as ``RunConfig.algo`` has it.
        spec: sizes of a world.
        seed: of parameters and experience.

    Raises:
        ConfigError: there is no such algorithm, or its keys are wrong.
    """
    method = _method(algo, spec)
    try:
        found = [] if method is None else record_faults(method, spec)
        if found:
            return found
        learner = _learner(algo, spec)
        if method is not None:
            found += _memory_faults(method, spec, seed)
        return [*found, *_learning_faults(learner, method, seed)]
    except Stop as stop:
        return [stop.finding]


def _method(algo: Mapping[str, Any], spec: EnvSpec) -> Method | None:
    """The record, where the algorithm has one."""
    role = algo.get("role")
    if not isinstance(role, Mapping):
        return None
    kind = outside.makes(roles.module_of(role))
    return roles.make_method(role, spec, kind)


def _learner(algo: Mapping[str, Any], spec: EnvSpec) -> Learner:
    """The learner on top of it.

    Raises:
        Stop: names that do not belong together, or a loss that cannot be traced.
    """
    try:
        return make_learner(algo, spec)
    except ConfigError as error:
        raise Stop(fault(str(error))) from error
    except Exception as error:
        raise Stop(fault(f"a loss or phase {reason(error)}")) from error


def _memory_faults(method: Method, spec: EnvSpec, seed: int) -> Iterator[Finding]:
    """Whether outputs are those of acting, of their own episode, of their own row."""
    try:
        got = jax.jit(lambda key: _passes(method, spec, key))(jax.random.key(seed))
    except Exception as error:
        raise Stop(fault(f"one step at a time the method {reason(error)}")) from error
    whole, stepwise, other_past, other_row = map(np.asarray, got)
    if not np.isfinite(whole).all():
        yield fault("the method's outputs are NaN or infinite at its first parameters")
        return
    if (gap := np.abs(whole - stepwise).max()) > TOLERANCE:
        yield fault(
            f"a sequence step by step gives other outputs than at once (by {gap:.2g}): "
            "return recurrent states of every step, and zero them where x.reset holds"
        )
    late = samples.STEPS // 2
    if (gap := np.abs(whole - other_past)[late:].max()) > TOLERANCE:
        yield fault(
            f"outputs depend on the episode before (by {gap:.2g}): zero recurrent "
            "states where x.reset holds"
        )
    if (gap := np.abs(whole - other_row)[:, 0].max()) > TOLERANCE:
        yield fault(
            f"outputs of a row depend on another row (by {gap:.2g}): an axis is mixed "
            "up; sequences are [T, B, N, ...]"
        )


def _passes(method: Method, spec: EnvSpec, key: Array) -> Passes:
    """The network over a sequence, in the four ways that are compared."""
    params, carry = method.init(named(key, "init")), method.carry(2)
    x, other = samples.inputs(spec, 0), samples.inputs(spec, 1)
    draws = jax.random.normal(named(key, "state"), (2, *x.reset.shape, spec.state_dim))

    def run(x: Inputs, state: Array, carry: Any) -> tuple[Array, Any]:
        feats, encoded = method.encode(params, x, carry, None)
        if isinstance(method, RoleMethod):
            out, hidden = method.q_values(params, x, feats, carry)
            return out.q, last(carry, encoded, hidden)
        logits, acted = method.logits(params, x, feats, carry)
        value, judged = method.value(params, x, state, feats, carry)
        both = jnp.concatenate([logits, value[..., None]], -1)
        return both, last(carry, encoded, acted, judged)

    def step(carry: Any, at: tuple[Inputs, Array]) -> tuple[Any, Array]:
        x, state = jax.tree.map(lambda leaf: leaf[None], at)
        out, carry = run(x, state, carry)
        return carry, out[0]

    def mixed(where: Array) -> tuple[Inputs, Array]:
        """The sequence with another's inputs where the mask `[T, B]` holds."""

        def pick(a: Array, b: Array) -> Array:
            return jnp.where(where.reshape(where.shape + (1,) * (a.ndim - 2)), b, a)

        return jax.tree.map(pick, (x, draws[0]), (other, draws[1]))

    times = jnp.arange(samples.STEPS)[:, None]
    past = jnp.broadcast_to(times < samples.STEPS // 2, x.reset.shape)
    row = jnp.broadcast_to(jnp.arange(2) == 1, x.reset.shape)
    return Passes(
        whole=run(x, draws[0], carry)[0],
        stepwise=jax.lax.scan(step, carry, (x, draws[0]))[1],
        other_past=run(*mixed(past), carry)[0],
        other_row=run(*mixed(row), carry)[0],
    )


def _learning_faults(
    learner: Learner, method: Method | None, seed: int
) -> Iterator[Finding]:
    """Updates on drawn experience: what is not finite, and what they do not move."""
    key, batch = jax.random.key(seed), samples.experience(learner, seed)
    begun = jax.jit(learner.init)(named(key, "init"))
    phases = () if method is None else method.phases
    # An update at which every phase is due.
    due = math.lcm(*(phase.every for phase in phases)) - 1
    updates = [stage.update for stage in learner.pretraining]
    updates += [learner.update] * UPDATES
    state = begun
    for i, update in enumerate(updates):
        try:
            out = update(state, batch, jnp.asarray(due), named(key, "update", i))
        except Exception as error:
            raise Stop(fault(f"an update {reason(error)}")) from error
        if not bool(out.finite):
            yield fault(f"losses or gradients are not finite: {_not_finite(out)}")
            return
        state = out.state
    if jax.tree.structure(state) != jax.tree.structure(begun):
        yield fault("an update changes the structure of the learner's state")
        return
    resting = () if method is None else method.no_gradient
    yield from _untouched(begun.params, state.params, resting)


def _not_finite(out: UpdateOut) -> str:
    """Metrics that are NaN or infinite."""
    wrong = [name for name, x in out.metrics.items() if not np.isfinite(x).all()]
    return ", ".join(sorted(wrong)) or "a gradient"


def _untouched(
    before: Mapping[str, PyTree], after: Mapping[str, PyTree], resting: tuple[str, ...]
) -> Iterator[Finding]:
    """Parameters that no update has moved."""
    for group in sorted(set(before) - set(resting)):
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(before[group]),
            jax.tree.leaves(after[group]),
            strict=True,
        )
        moved = {
            jax.tree_util.keystr(path): not np.array_equal(a, b)
            for (path, a), b in pairs
        }
        still = sorted(path for path, has in moved.items() if not has)
        if still and not any(moved.values()):
            yield fault(
                f"no gradient reaches the parameter group '{group}'; use it in a loss, "
                "or list it in no_gradient"
            )
        elif still:
            named_paths = ", ".join(f"{group}{path}" for path in still)
            yield note(f"no gradient reaches {named_paths}")
