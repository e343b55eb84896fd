"""Whether a method acts as it learns: one sequence, walked through in several ways."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.checks import samples
from rolemarl_jax.checks.findings import Finding, Stop, fault, reason
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import PolicyMethod, RoleMethod, last
from rolemarl_jax.types import Array, EnvSpec, Inputs

TOLERANCE = 1e-4  # of the largest output of that name
SECOND = samples.STEPS // 2  # step at which the second episode begins
Method = RoleMethod | PolicyMethod
Outputs = dict[str, Array]
"""What a method puts out, `[T, B, N, ...]`, by the name that findings use."""


class Passes(NamedTuple):
    """Outputs of the same network over the same sequence."""

    whole: Outputs
    other_past: Outputs  # the first episode of each row changed
    other_future: Outputs  # all from the first episode's last step on changed
    other_row: Outputs  # the second row changed
    stepwise: Outputs | None  # a step at a time, as it acts; not where roles are drawn


def memory_faults(method: Method, spec: EnvSpec, seed: int) -> Iterator[Finding]:
    """Whether outputs are those of acting, of their past, their episode, their row.

    Once greedily, and once with a key, as roles are in an update. That one is not
    walked step by step, for a step's draws are other ones than a sequence's.
    """
    for drawn in (False, True):
        run = jax.jit(lambda key, drawn=drawn: _passes(method, spec, key, drawn=drawn))
        try:
            passes = run(jax.random.key(seed))
        except Exception as error:
            what = "over a sequence" if drawn else "one step at a time"
            raise Stop(fault(f"{what} the method {reason(error)}")) from error
        found = list(_differences(jax.tree.map(np.asarray, passes)))
        yield from [fault(f"with a key {text}" if drawn else text) for text in found]
        if found:
            return


def _differences(passes: Passes) -> Iterator[str]:
    """What outputs depend on that they must not."""
    whole = passes.whole
    wrong = [name for name, x in whole.items() if not np.isfinite(x).all()]
    if wrong:
        yield f"{', '.join(wrong)}: NaN or infinite at the method's first parameters"
        return
    stepwise = passes.stepwise
    if stepwise is not None and (what := _apart(whole, stepwise, np.s_[:])):
        yield (
            f"a sequence step by step gives other outputs than at once: {what}; use no "
            "later step, and return recurrent states of every step, zeroed where "
            "x.reset holds"
        )
    elif what := _apart(whole, passes.other_future, np.s_[: SECOND - 1]):
        yield f"outputs depend on later steps: {what}; use no later step"
    if what := _apart(whole, passes.other_past, np.s_[SECOND:]):
        yield (
            f"outputs depend on the episode before: {what}; zero recurrent states "
            "where x.reset holds"
        )
    if what := _apart(whole, passes.other_row, np.s_[:, 0]):
        yield (
            f"outputs of a row depend on another row: {what}; an axis is mixed up: "
            "sequences are [T, B, N, ...]"
        )


def _apart(one: Outputs, other: Outputs, at: Any) -> str:
    """Outputs that differ where ``at`` says, and by how much of their own size."""
    told = []
    for name, x in one.items():
        a, b = (np.asarray(values, np.float64) for values in (x, other[name]))
        size, gap = max(abs(a).max(), abs(b).max()), abs(a - b)[at].max()
        # NaN is a difference, too: the first sequence has none.
        if not gap <= TOLERANCE * size:
            told.append(f"{name} (by {gap / size:.2g} of the largest)")
    return ", ".join(told)


def _passes(method: Method, spec: EnvSpec, key: Array, *, drawn: bool) -> Passes:
    """The network over a sequence, in the ways that are compared."""
    params, carry = method.init(named(key, "init")), method.carry(2)
    x, other = samples.inputs(spec, 0), samples.inputs(spec, 1)
    draws = jax.random.normal(named(key, "state"), (2, *x.reset.shape, spec.state_dim))
    draw = named(key, "draw") if drawn else None

    def run(x: Inputs, state: Array, carry: Any) -> tuple[Outputs, Any]:
        return _outputs(method, params, (x, state), carry, draw)

    def step(carry: Any, at: tuple[Inputs, Array]) -> tuple[Any, Outputs]:
        x, state = jax.tree.map(lambda leaf: leaf[None], at)
        out, carry = run(x, state, carry)
        return carry, {name: values[0] for name, values in out.items()}

    def mixed(where: Array) -> Outputs:
        """Of the sequence with another's inputs where the mask `[T, B]` holds."""

        def pick(a: Array, b: Array) -> Array:
            return jnp.where(where.reshape(where.shape + (1,) * (a.ndim - 2)), b, a)

        inputs, state = jax.tree.map(pick, (x, draws[0]), (other, draws[1]))
        return run(inputs, state, carry)[0]

    shape = x.reset.shape
    times = jnp.broadcast_to(jnp.arange(samples.STEPS)[:, None], shape)
    second_row = jnp.broadcast_to(jnp.arange(2) == 1, shape)
    # Mapped, so that the network is compiled once; a key's draws are alike in all.
    changed = (times < 0, times < SECOND, times >= SECOND - 1, second_row)
    made = jax.vmap(mixed)(jnp.stack(changed))
    each = [{name: x[i] for name, x in made.items()} for i in range(len(changed))]
    alone = None if drawn else jax.lax.scan(step, carry, (x, draws[0]))[1]
    return Passes(*each, stepwise=alone)


def _outputs(
    method: Method, params: Any, seen: tuple[Inputs, Array], carry: Any, key: Any
) -> tuple[Outputs, Any]:
    """Outputs of a sequence by name, and recurrent states after it."""
    x, state = seen
    feats, encoded = method.encode(params, x, carry, key)
    shown = {f"encode's feats['{name}']": f for name, f in feats.items()}
    if isinstance(method, RoleMethod):
        out, hidden = method.q_values(params, x, feats, carry)
        for name, own in out.feats.items():
            if own is not feats.get(name):
                shown[f"q_values' feats['{name}']"] = own
        return {"action values": out.q, **shown}, last(carry, encoded, hidden)
    logits, acted = method.logits(params, x, feats, carry)
    value, judged = method.value(params, x, state, feats, carry)
    after = last(carry, encoded, acted, judged)
    return {"logits": logits, "values": value, **shown}, after
