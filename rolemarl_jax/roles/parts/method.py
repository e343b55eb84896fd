"""What a role method is: a record of pure functions handed to a learner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from rolemarl_jax.roles.parts.phase import (
    AfterFn,
    Context,
    Losses,
    Metrics,
    Params,
    Phase,
    unchanged,
)
from rolemarl_jax.roles.parts.view import RoleMetricsFn, nothing_more
from rolemarl_jax.types import (
    AgentOut,
    AgentState,
    Array,
    Batch,
    Inputs,
    Key,
    LearnerState,
    Observation,
    PyTree,
)

Carry = dict[str, Array]
"""Recurrent states before a sequence, `[B, ...]`, by name."""
Hidden = dict[str, Array]
"""Recurrent states after every step of a sequence, `[T, B, ...]`, by name."""
Feats = dict[str, Array]
"""Role features of a sequence, `[T, B, N, ...]`, by name."""


class InitFn(Protocol):
    """Parameters to begin with, by group."""

    def __call__(self, key: Key, /) -> Params: ...  # noqa: D102


class CarryFn(Protocol):
    """Recurrent state of B rows at the beginning of an episode."""

    def __call__(self, rows: int, /) -> Carry: ...  # noqa: D102


class EncodeFn(Protocol):
    """Role features of a sequence; without a key roles are their means (greedy)."""

    def __call__(  # noqa: D102
        self, params: Params, x: Inputs, carry: Carry, key: Key | None, /
    ) -> tuple[Feats, Hidden]: ...


class QValuesFn(Protocol):
    """Action values `[T, B, N, A]` of a sequence, from inputs and role features."""

    def __call__(  # noqa: D102
        self, params: Params, x: Inputs, feats: Feats, carry: Carry, /
    ) -> tuple[AgentOut, Hidden]: ...


class TargetFeatsFn(Protocol):
    """Role features that the target network uses, given those of the online one."""

    def __call__(  # noqa: D102
        self, target_params: Params, x: Inputs, feats: Feats, key: Key | None, /
    ) -> Feats: ...


class ExtraLossesFn(Protocol):
    """Losses that join the TD loss."""

    def __call__(  # noqa: D102
        self, params: Params, ctx: Context, out: AgentOut, /
    ) -> Losses: ...


def no_losses(params: Params, ctx: Context, out: AgentOut) -> Losses:
    """Nothing joins the TD loss."""
    del params, ctx, out
    return {}


class ExperienceFn(Protocol):
    """What the TD step learns from, and factors on gradients of action values.

    The factors are `[T+1, B, N]`, or ``None`` for one everywhere.
    """

    def __call__(self, ctx: Context, /) -> tuple[Batch, Array | None]: ...  # noqa: D102


def own_experience(ctx: Context) -> tuple[Batch, None]:
    """The batch as it is."""
    return ctx.batch, None


class Moment(NamedTuple):
    """What a method may read when it explores, of B worlds at one step."""

    state: LearnerState
    observation: Observation  # [B, ...]
    reset: Array  # [B] bool
    key: Key


class ExploreFn(Protocol):
    """Changes actions `[B, N]` that epsilon-greedy chose while collecting."""

    def __call__(  # noqa: D102
        self, moment: Moment, actions: Array, carry: Carry, /
    ) -> tuple[Array, Carry]: ...


def as_chosen(moment: Moment, actions: Array, carry: Carry) -> tuple[Array, Carry]:
    """What epsilon-greedy chose."""
    del moment
    return actions, carry


class Intrinsic(NamedTuple):
    """A reward of the method's own."""

    reward: Array | float  # [T, B], added to the team's
    metrics: Metrics = {}  # noqa: RUF012
    aux: dict[str, PyTree] = {}  # noqa: RUF012  as in LossOut


class IntrinsicFn(Protocol):
    """The method's reward of a batch, given what the online network put out."""

    def __call__(self, ctx: Context, out: AgentOut, /) -> Intrinsic: ...  # noqa: D102


def no_intrinsic(ctx: Context, out: AgentOut) -> Intrinsic:
    """The team's reward is all there is."""
    del ctx, out
    return Intrinsic(0.0)


class InitAuxFn(Protocol):
    """What is kept beside the parameters, to begin with."""

    def __call__(self, key: Key, params: Params, /) -> dict[str, Any]: ...  # noqa: D102


def no_aux(key: Key, params: Params) -> dict[str, Any]:
    """Nothing is kept beside the parameters."""
    del key, params
    return {}


@dataclass(frozen=True)
class RoleMethod:
    """A role method for a value learner.

    A policy over a sequence is ``encode`` then ``q_values``; acting is the same with
    T = 1 and a carried recurrent state.

    Attributes:
        init: parameters.
        target_groups: groups of which the target network keeps its own copy.
        carry: recurrent state at an episode's beginning.
        encode: role features.
        q_values: action values.
        target_feats: role features of the target network, or none where action values
            are read off no role features.
        td_lr: for each group that the TD loss trains, the name of its learning rate.
        no_gradient: groups that no gradient step changes: moved otherwise, or at rest.
        exact: groups that compute in float32 whatever ``algo.precision`` says:
            densities, divergences and classifiers.
        hypers: initial values of the method's own hyper-parameters.
        extra_losses: joining the TD loss.
        experience: what the TD step learns from.
        explore: changes what epsilon-greedy chose.
        intrinsic: a reward besides the team's.
        phases: gradient steps besides the TD step.
        init_aux: what is kept beside the parameters.
        after_update: what happens to the state after each update in training.
        role_metrics: what is told of roles besides what all methods have in common.
        whole: roles are not known in rows of replay that begin within an episode.
    """

    init: InitFn
    target_groups: tuple[str, ...]
    carry: CarryFn
    encode: EncodeFn
    q_values: QValuesFn
    target_feats: TargetFeatsFn | None
    td_lr: Mapping[str, str]
    no_gradient: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    hypers: Mapping[str, float] = field(default_factory=dict)
    extra_losses: ExtraLossesFn = no_losses
    experience: ExperienceFn = own_experience
    explore: ExploreFn = as_chosen
    intrinsic: IntrinsicFn = no_intrinsic
    phases: tuple[Phase, ...] = ()
    init_aux: InitAuxFn = no_aux
    after_update: AfterFn = unchanged
    role_metrics: RoleMetricsFn = nothing_more
    whole: bool = False


class LogitsFn(Protocol):
    """Logits `[T, B, N, A]` of a sequence, from inputs and role features."""

    def __call__(  # noqa: D102
        self, params: Params, x: Inputs, feats: Feats, carry: Carry, /
    ) -> tuple[Array, Hidden]: ...


class ValueFn(Protocol):
    """Values `[T, B, N]` of a sequence; ``state`` is `[T, B, S]`.

    Gradients must not reach the actor's groups.
    """

    def __call__(  # noqa: D102
        self, params: Params, x: Inputs, state: Array, feats: Feats, carry: Carry, /
    ) -> tuple[Array, Hidden]: ...


@dataclass(frozen=True)
class PolicyMethod:
    """Actor, critic and roles for PPO.

    All functions run over sequences; acting is the same with T = 1. The critic's
    recurrent state is carried while acting too, so that a block that begins in
    mid-episode knows the past.

    Attributes:
        init: parameters.
        carry: recurrent state at an episode's beginning: encoder, actor and critic.
        encode: role features for both actor and critic.
        logits: of the actor.
        value: of the critic.
        actor_groups: parameters with the learning rate ``actor_lr``.
        critic_groups: parameters with the learning rate ``critic_lr``.
        no_gradient: groups that no gradient step changes: moved otherwise, or at rest.
        exact: as in ``RoleMethod``.
        hypers: initial values of the method's own hyper-parameters.
        phases: gradient steps on a ``Trajectory`` besides those of PPO.
        after_update: what happens to the state after each update in training.
        role_metrics: what is told of roles besides what all methods have in common.
    """

    init: InitFn
    carry: CarryFn
    encode: EncodeFn
    logits: LogitsFn
    value: ValueFn
    actor_groups: tuple[str, ...]
    critic_groups: tuple[str, ...]
    no_gradient: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    hypers: Mapping[str, float] = field(default_factory=dict)
    phases: tuple[Phase, ...] = ()
    after_update: AfterFn = unchanged
    role_metrics: RoleMetricsFn = nothing_more


def one_step(observation: Observation, agents: AgentState) -> Inputs:
    """What a policy reads at one step of B worlds: a sequence of length one."""
    return Inputs(observation.obs[None], agents.last_action[None], agents.reset[None])


def begun(batch: Batch, carry: CarryFn) -> Carry:
    """Recurrent state before a batch: the one that acted, or an episode's first."""
    return batch.carry or carry(batch.reset.shape[1])


def last(carry: Carry, *hidden: Hidden) -> Carry:
    """Recurrent state after a sequence: the last of ``hidden``, the rest as it was."""
    return {**carry, **{n: h[-1] for part in hidden for n, h in part.items()}}
