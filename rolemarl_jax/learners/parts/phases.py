"""Phases: gradient steps over named parameter groups, each with its own optimiser."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Context, Losses, Metrics, Params, Phase
from rolemarl_jax.types import (
    Array,
    Batch,
    EnvSpec,
    Fresh,
    Key,
    LearnerState,
    Observation,
    PyTree,
)

Experience = Batch | Fresh
Scales = dict[str, str]
Hypers = dict[str, float]
Update = Callable[[LearnerState, Any, Array, Key], tuple[LearnerState, Metrics]]


@dataclass(frozen=True)
class Pretraining:
    """A stage before training: ``updates`` calls of ``update``."""

    name: str
    updates: int
    update: Update


@dataclass(frozen=True)
class Learner:
    """What the runner needs of an algorithm.

    Attributes:
        spec: sizes of the world that it was made for.
        init: ``key -> LearnerState``.
        carry: ``rows -> recurrent state`` of acting in that many worlds.
        act: ``(state, carry, Observation [B, ...], last_action [B, N], reset [B],
            epsilon, key) -> (actions [B, N], carry)``, exploring.
        greedy: the same without epsilon and key: ``-> (actions, carry, feats)``.
        epsilon: exploration rate as a function of env steps, unbatched.
        update: ``(state, batch, t, key) -> (state, metrics)``; ``t`` counts updates
            and must not be batched over seeds.
        pretraining: stages that come first, in order.
        experience: what ``update`` reads: a ``Batch`` of ``replay``, or the ``Fresh``
            block that its own policy has just collected.
    """

    spec: EnvSpec
    init: Callable[[Key], LearnerState]
    carry: Callable[[int], PyTree]
    act: Callable[
        [LearnerState, PyTree, Observation, Array, Array, Array, Key],
        tuple[Array, PyTree],
    ]
    greedy: Callable[
        [LearnerState, PyTree, Observation, Array, Array],
        tuple[Array, PyTree, dict[str, Array]],
    ]
    epsilon: Callable[[Array], Array]
    update: Update
    pretraining: tuple[Pretraining, ...]
    experience: Literal["replay", "fresh"] = "replay"


@functools.cache
def compiled(update: Update) -> Update:
    """The jitted form of an update: one object, so one compilation for each shape.

    Whoever fills the batch calls this, inside a larger program or from the host.
    """
    return jax.jit(update)


def init_optimisers(phases: tuple[Phase, ...], params: dict[str, PyTree]) -> Any:
    """Optimiser state of every phase over the groups that it changes."""
    return {p.name: p.optimiser.init({g: params[g] for g in p.lr}) for p in phases}


def run_phase(
    phase: Phase, state: LearnerState, batch: Any, decay: Array, key: Key
) -> tuple[LearnerState, Metrics]:
    """One gradient step of a phase.

    Args:
        batch: what the phase's loss reads; its ``mask`` weighs the steps.
        decay: the schedule's factor on learning rates, unbatched; only phases that
            decay heed it.

    Returns:
        The changed state, and metrics ``<phase>/<name>``: every loss, the gradient
        norm and what the loss function reports.
    """
    context, scales = Context(state, batch, key), sorted(phase.scales.items())

    def objective(own: dict[str, PyTree]) -> tuple[Array, Metrics]:
        losses, metrics = phase.loss({**state.params, **own}, context)
        means = reduce_losses(losses, batch.mask)
        total = jnp.sum(jnp.stack([_scale(state, s) * means[n] for n, s in scales]))
        return total, {**metrics, **{f"loss_{n}": m for n, m in means.items()}}

    own = {g: state.params[g] for g in phase.lr}
    grads, metrics = jax.grad(objective, has_aux=True)(own)
    factor = decay if phase.decays else 1.0
    steps: Any
    steps, opt = phase.optimiser.update(grads, state.opt[phase.name], own)
    rates = {g: factor * state.hypers[name] for g, name in phase.lr.items()}
    new = {
        g: jax.tree.map(lambda p, s, rate=rate: p - rate * s, own[g], steps[g])
        for g, rate in rates.items()
    }
    state = state._replace(
        params={**state.params, **new}, opt={**state.opt, phase.name: opt}
    )
    metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
    return phase.after(state), {f"{phase.name}/{n}": v for n, v in metrics.items()}


def in_precision(phase: Phase, name: str, exact: tuple[str, ...]) -> Phase:
    """The phase with its networks computed in ``bfloat16``, or as it is.

    Weights are rounded before the loss; layers compute in the precision of theirs.
    Parameters, optimisers, gradients as the optimisers see them, targets and
    hyper-parameters stay float32, and so do the parameter groups in ``exact``.
    """
    if name == "float32":
        return phase

    def rounded(groups: dict[str, PyTree]) -> dict[str, PyTree]:
        return {
            group: tree
            if group in exact
            else jax.tree.map(lambda x: x.astype(jnp.dtype(name)), tree)
            for group, tree in groups.items()
        }

    def loss(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        own, target = rounded(ctx.state.params), rounded(ctx.state.target)
        state = ctx.state._replace(params=own, target=target)
        return phase.loss(rounded(params), ctx._replace(state=state))

    also = tuple(in_precision(p, name, exact) for p in phase.also)
    return dataclasses.replace(phase, loss=loss, also=also)


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
    batch: Experience,
    t: Array,
    decay: Array,
    key: Key,
) -> tuple[LearnerState, Metrics]:
    """The phase's step at every ``every``-th update, else nothing.

    ``t`` is unbatched, so that the branch survives mapping over seeds. Metrics of a
    skipped step are NaN.
    """

    def run(state: LearnerState) -> tuple[LearnerState, Metrics]:
        return run_phase(phase, state, batch, decay, key)

    if phase.every == 1:
        return run(state)

    shapes = jax.eval_shape(run, state)[1]
    nothing = {n: jnp.full(s.shape, jnp.nan, s.dtype) for n, s in shapes.items()}
    due = (t + 1) % phase.every == 0
    return jax.lax.cond(due, run, lambda state: (state, nothing), state)


def pretraining(phase: Phase) -> Pretraining:
    """A pre-training phase, and what runs along with it, as a stage."""

    def update(
        state: LearnerState, batch: Experience, t: Array, key: Key
    ) -> tuple[LearnerState, Metrics]:
        del t
        one, metrics = jnp.ones(()), {}
        for each in (phase, *phase.also):
            own_key = named(key, each.name)
            state, reported = run_phase(each, state, batch, one, own_key)
            metrics |= reported
        return state, metrics

    return Pretraining(phase.name, phase.updates, update)


def repeated(stage: Pretraining, steps: int) -> Pretraining:
    """The same stage with ``steps`` updates on each batch, and so fewer batches."""

    def update(
        state: LearnerState, batch: Experience, t: Array, key: Key
    ) -> tuple[LearnerState, Metrics]:
        def step(state: LearnerState, i: Array) -> tuple[LearnerState, Metrics]:
            return stage.update(state, batch, t, named(key, "step", i))

        state, metrics = jax.lax.scan(step, state, jnp.arange(steps))
        return state, {name: x.mean() for name, x in metrics.items()}

    return Pretraining(stage.name, -(-stage.updates // steps), update)
