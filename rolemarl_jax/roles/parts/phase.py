"""A gradient step over named parameter groups: its losses, rates and optimiser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import optax

from rolemarl_jax.types import Array, Key, LearnerState, PyTree

Params = dict[str, PyTree]
"""Parameters by group."""
Losses = dict[str, Array]
"""Losses of every step, `[T, B]`, by name."""
Metrics = dict[str, Array]
"""Scalars, by name."""


class Context(NamedTuple):
    """What a loss may read besides the parameters that it differentiates."""

    state: LearnerState
    batch: Any  # Batch, Trajectory or what the learner draws from them; has `mask`
    key: Key


class LossOut(NamedTuple):
    """What a loss function finds."""

    losses: Losses
    metrics: Metrics = {}  # noqa: RUF012
    aux: dict[str, PyTree] = {}  # noqa: RUF012  entries that replace LearnerState.aux's


class LossFn(Protocol):
    """Losses of a batch as a function of the parameters, by group.

    Where the learner has made the forward pass already, of what that gave.
    """

    def __call__(self, params: Any, ctx: Context, /) -> LossOut: ...  # noqa: D102


class AfterFn(Protocol):
    """What else happens to the learner's state when a step has been made."""

    def __call__(self, state: LearnerState, /) -> LearnerState: ...  # noqa: D102


def unchanged(state: LearnerState) -> LearnerState:
    """Nothing else happens."""
    return state


@dataclass(frozen=True)
class Phase:
    """One gradient step of its own on a batch.

    Attributes:
        name: prefix of its metrics.
        stage: ``pretrain`` phases run ``updates`` times each, in order, before
            training; ``train`` phases run at every ``every``-th learner update,
            before the TD step.
        lr: for each parameter group that the phase changes, the name of its
            learning rate among the hyper-parameters. Only these groups get
            gradients, and groups of two phases may overlap.
        optimiser: gradient transformation without learning rate, one per phase.
        loss: of the batch, by name.
        scales: weight of each loss that ``loss`` returns, or the name of the weight
            among the hyper-parameters.
        every: period in learner updates (``train``).
        updates: how many updates (``pretrain``).
        decays: whether the learner's learning-rate schedule applies.
        after: what happens to the learner state after the step.
        also: phases that follow it on the same batch (``pretrain``).
    """

    name: str
    stage: Literal["pretrain", "train"]
    lr: Mapping[str, str]
    optimiser: optax.GradientTransformation
    loss: LossFn
    scales: Mapping[str, float | str]
    every: int = 1
    updates: int = 0
    decays: bool = False
    after: AfterFn = unchanged
    also: tuple["Phase", ...] = ()
