"""Networks of an update in bfloat16 (``algo.precision``); what is kept is float32.

Weights are rounded before they are used, and layers compute in the precision of theirs.
Parameters, optimisers, gradients as the optimisers see them, targets and
hyper-parameters stay float32, and so do the parameter groups that are named ``exact``.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rolemarl_jax.roles.parts.method import PolicyMethod
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params, Phase
from rolemarl_jax.types import Array, LearnerState

Precision = Literal["float32", "bfloat16"]


def rounded(groups: Params, name: Precision, exact: tuple[str, ...]) -> Params:
    """Parameter groups in a precision, but for some."""
    return {
        group: tree
        if group in exact
        else jax.tree.map(lambda x: x.astype(jnp.dtype(name)), tree)
        for group, tree in groups.items()
    }


def of_state(
    state: LearnerState, name: Precision, exact: tuple[str, ...]
) -> LearnerState:
    """The state with the networks that are read in a precision."""
    own, target = (rounded(x, name, exact) for x in (state.params, state.target))
    return state._replace(params=own, target=target)


def of_phase(phase: Phase, name: Precision, exact: tuple[str, ...]) -> Phase:
    """The phase with its networks in a precision."""
    if name == "float32":
        return phase

    def loss(params: Params, ctx: Context) -> LossOut:
        state = of_state(ctx.state, name, exact)
        return phase.loss(rounded(params, name, exact), ctx._replace(state=state))

    also = tuple(of_phase(p, name, exact) for p in phase.also)
    return dataclasses.replace(phase, loss=loss, also=also)


def of_policy(method: PolicyMethod, name: Precision) -> PolicyMethod:
    """The method with networks and phases in a precision; its outputs are float32."""
    if name == "float32":
        return method

    def lowered(function: Any) -> Any:
        def run(params: Params, *args: Any) -> tuple[Any, dict[str, Array]]:
            return function(rounded(params, name, method.exact), *args)

        return run

    def finished(function: Any) -> Any:
        def run(*args: Any) -> tuple[Array, dict[str, Array]]:
            out, hidden = lowered(function)(*args)
            return out.astype(jnp.float32), hidden

        return run

    return dataclasses.replace(
        method,
        encode=lowered(method.encode),
        logits=finished(method.logits),
        value=finished(method.value),
        phases=tuple(of_phase(phase, name, method.exact) for phase in method.phases),
    )
