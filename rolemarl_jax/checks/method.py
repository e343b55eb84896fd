"""What is wrong with a role method: its record, how it remembers, what it learns."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax import outside, roles
from rolemarl_jax.checks import samples
from rolemarl_jax.checks.findings import Finding, Stop, fault, note, reason
from rolemarl_jax.checks.memory import memory_faults
from rolemarl_jax.checks.records import acting_faults, record_faults
from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts.learner import Learner, UpdateOut
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import PolicyMethod, RoleMethod
from rolemarl_jax.types import EnvSpec, PyTree

UPDATES = 2
PADDED = (
    " in padded steps, whose observations are 0 (a mask of 0 does not take NaN away; "
    "use jnp.where before what divides, or an epsilon)"
)
Method = RoleMethod | PolicyMethod


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
            found += acting_faults(method, learner)
            found += memory_faults(method, spec, seed)
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
            real = samples.experience(learner, seed, padded=False)
            again = update(state, real, jnp.asarray(due), named(key, "update", i))
            where = PADDED if bool(again.finite) else ""
            yield fault(
                f"losses or gradients are not finite{where}: {_not_finite(out)}"
            )
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
