"""Phases: gradient steps over named parameter groups, each with its own optimiser."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rolemarl_jax.learners.parts.learner import Experience, Pretraining, UpdateOut
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.phase import Context, LossOut, Metrics, Params, Phase
from rolemarl_jax.types import Array, Key, LearnerState, PyTree

Scales = dict[str, str]
Hypers = dict[str, float]


class Pullback(NamedTuple):
    """A forward pass that has been made, for a loss of what it gave.

    Attributes:
        value: what ``Phase.loss`` reads in place of the parameters.
        back: from the gradient of ``value`` to that of the phase's groups.
    """

    value: PyTree
    back: Callable[[PyTree], tuple[Params]]


def run_phase(
    phase: Phase,
    state: LearnerState,
    batch: Any,
    decay: Array,
    key: Key,
    pullback: Pullback | None = None,
) -> UpdateOut:
    """One gradient step of a phase.

    Args:
        batch: what the phase's loss reads; its ``mask`` weighs the steps.
        decay: the schedule's factor on learning rates, unbatched; only phases that
            decay heed it.
        pullback: the forward pass, where it is there already.

    Returns:
        The changed state; metrics ``<phase>/<name>``: every loss, the gradient norm and
        what the loss function reports; whether losses and gradients are finite.
    """
    context, scales = Context(state, batch, key), sorted(phase.scales.items())

    def objective(read: PyTree) -> tuple[Array, LossOut]:
        out = phase.loss(read, context)
        means = reduce_losses(out.losses, batch.mask)
        total = jnp.sum(jnp.stack([_scale(state, s) * means[n] for n, s in scales]))
        return total, out._replace(losses=means)

    own = {g: state.params[g] for g in phase.lr}
    if pullback is None:
        grads, out = jax.grad(
            lambda own: objective({**state.params, **own}), has_aux=True
        )(own)
    else:
        above, out = jax.grad(objective, has_aux=True)(pullback.value)
        (grads,) = pullback.back(above)
    return _step(phase, state, grads, out, decay if phase.decays else 1.0)


def _step(
    phase: Phase,
    state: LearnerState,
    grads: Params,
    out: LossOut,
    factor: Array | float,
) -> UpdateOut:
    """Moves the phase's groups against their gradients."""
    own, steps = {g: state.params[g] for g in phase.lr}, None
    steps, opt = phase.optimiser.update(grads, state.opt[phase.name], own)
    rates = {g: factor * state.hypers[name] for g, name in phase.lr.items()}
    moved = {
        g: jax.tree.map(lambda p, s, rate=rate: p - rate * s, own[g], steps[g])  # type: ignore[index]
        for g, rate in rates.items()
    }
    norm = optax.tree.norm(grads)
    metrics = {
        **out.metrics,
        **{f"loss_{name}": loss for name, loss in out.losses.items()},
        "grad_norm": norm,
    }
    finite = jnp.isfinite(jnp.stack([*out.losses.values(), norm])).all()
    state = state._replace(
        params={**state.params, **moved},
        opt={**state.opt, phase.name: opt},
        aux={**state.aux, **out.aux},
    )
    named_metrics = {f"{phase.name}/{n}": v for n, v in metrics.items()}
    return UpdateOut(phase.after(state), named_metrics, finite)


def weights(loss_scales: Mapping[str, float]) -> tuple[Scales, Hypers]:
    """Weights of losses as hyper-parameters ``weight_<loss>``.

    Returns:
        ``Phase.scales`` with their names, and their initial values.
    """
    names = {loss: f"weight_{loss}" for loss in loss_scales}
    return names, {names[loss]: value for loss, value in loss_scales.items()}


def _scale(state: LearnerState, scale: float | str) -> Array | float:
    return state.hypers[scale] if isinstance(scale, str) else scale


def reduce_losses(losses: dict[str, Array], mask: Array) -> dict[str, Array]:
    """Masked means of per-step losses, each checked to be `[T, B]`."""
    wrong = {n: x.shape for n, x in losses.items() if x.shape != mask.shape}
    if wrong:
        raise ValueError(f"losses must be [T, B] = {mask.shape}, got {wrong}")
    return {name: masked_mean(x, mask) for name, x in losses.items()}


def run_when_due(
    phase: Phase,
    state: LearnerState,
    batch: Any,
    t: Array,
    decay: Array,
    key: Key,
) -> UpdateOut:
    """``run_phase`` at every ``every``-th update.

    ``t`` is unbatched, so that the branch survives mapping over seeds. Metrics of a
    skipped step are NaN, and it counts as finite.
    """

    def run(state: LearnerState) -> UpdateOut:
        return run_phase(phase, state, batch, decay, key)

    if phase.every == 1:
        return run(state)

    shapes = jax.eval_shape(run, state).metrics
    nothing = {n: jnp.full(s.shape, jnp.nan, s.dtype) for n, s in shapes.items()}
    due = (t + 1) % phase.every == 0
    return jax.lax.cond(
        due, run, lambda state: UpdateOut(state, nothing, jnp.ones((), bool)), state
    )


def run_phases(
    phases: tuple[Phase, ...],
    before: UpdateOut,
    batch: Any,
    t: Array,
    decay: Array,
    key: Key,
) -> UpdateOut:
    """Phases that are due, one after another, each with a key by its name.

    Args:
        before: what earlier steps of the same update have left.
    """
    out = before
    for phase in phases:
        own = named(key, phase.name)
        out = joined(out, run_when_due(phase, out.state, batch, t, decay, own))
    return out


def joined(before: UpdateOut, after: UpdateOut) -> UpdateOut:
    """Two parts of one update, the second of which began where the first ended."""
    metrics = {**before.metrics, **after.metrics}
    return UpdateOut(after.state, metrics, before.finite & after.finite)


def nothing_done(state: LearnerState) -> UpdateOut:
    """An update before its first step."""
    return UpdateOut(state, {}, jnp.ones((), bool))


def pretraining(phase: Phase, steps: int | None = None) -> Pretraining:
    """A pre-training phase, and what runs along with it, as a stage.

    Args:
        steps: gradient steps on each batch, so that there are fewer batches; ``None``
            makes one, with the update's own key.
    """

    def once(state: LearnerState, batch: Experience, key: Key) -> UpdateOut:
        out = nothing_done(state)
        for each in (phase, *phase.also):
            own = named(key, each.name)
            out = joined(out, run_phase(each, out.state, batch, jnp.ones(()), own))
        return out

    def update(state: LearnerState, batch: Experience, t: Array, key: Key) -> UpdateOut:
        del t
        if steps is None:
            return once(state, batch, key)

        def step(
            state: LearnerState, i: Array
        ) -> tuple[LearnerState, tuple[Metrics, Array]]:
            out = once(state, batch, named(key, "step", i))
            return out.state, (out.metrics, out.finite)

        state, (metrics, finite) = jax.lax.scan(step, state, jnp.arange(steps))
        means = {name: x.mean() for name, x in metrics.items()}
        return UpdateOut(state, means, finite.all())

    return Pretraining(phase.name, -(-phase.updates // (steps or 1)), jax.jit(update))
