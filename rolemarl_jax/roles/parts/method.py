"""What a role method is: a record of pure functions handed to a learner."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax

from rolemarl_jax.types import (
    AgentOut,
    Array,
    Batch,
    Inputs,
    Key,
    LearnerState,
    Observation,
    PyTree,
)

Params = dict[str, PyTree]
Carry = dict[str, Array]
Losses = dict[str, Array]
Metrics = dict[str, Array]


class Context(NamedTuple):
    """What a loss may read besides the parameters that it differentiates."""

    state: LearnerState
    batch: Any  # Batch, Fresh or what the learner draws from them; has `mask`
    key: Key


@dataclass(frozen=True)
class Phase:
    """One gradient step of its own on a batch.

    Attributes:
        name: prefix of its metrics.
        stage: ``pretrain`` phases run ``updates`` times each, in order, before
            training; ``train`` phases run at every ``every``-th learner update,
            before the TD step.
        every: period in learner updates (``train``).
        updates: how many updates (``pretrain``).
        lr: for each parameter group that the phase changes, the name of its
            learning rate among the hyper-parameters. Only these groups get
            gradients, and groups of two phases may overlap.
        optimiser: gradient transformation without learning rate, one per phase.
        loss: ``(params, Context) -> ({name: [T, B]}, metrics)``.
        scales: weight of each named loss, or the name of one among the
            hyper-parameters.
        decays: whether the learner's learning-rate schedule applies.
        after: what happens to the learner state after the step.
        also: phases that follow it on the same batch (``pretrain``).
    """

    name: str
    stage: Literal["pretrain", "train"]
    lr: Mapping[str, str]
    optimiser: optax.GradientTransformation
    loss: Callable[[Params, Context], tuple[Losses, Metrics]]
    scales: Mapping[str, float | str]
    every: int = 1
    updates: int = 0
    decays: bool = False
    after: Callable[[LearnerState], LearnerState] = lambda state: state
    also: tuple["Phase", ...] = ()


def _no_losses(_: Params, __: Context, ___: AgentOut) -> Losses:
    return {}


def _no_reward(_: Context, __: AgentOut) -> tuple[float, Metrics]:
    return 0.0, {}


def _own_experience(ctx: Context) -> tuple[Batch, None]:
    return ctx.batch, None


class Moment(NamedTuple):
    """What a method may read when it explores, of B worlds at one step."""

    state: LearnerState
    seen: Observation  # [B, ...]
    reset: Array  # [B] bool
    key: Key


def _as_chosen(_: Moment, actions: Array, carry: Carry) -> tuple[Array, Carry]:
    return actions, carry


@dataclass(frozen=True)
class RoleMethod:
    """A role method for a value learner.

    A policy over a sequence is ``encode`` then ``q_values``; acting is the same with
    T = 1 and a carried recurrent state.

    Attributes:
        init: ``key -> {group: params}``.
        target_groups: groups of which the target network keeps its own copy.
        carry: ``rows B -> {name: zeros [B, ...]}``, recurrent state.
        encode: ``(params, Inputs, carry, key | None) -> (feats, carry part)``: role
            features `[T, B, N, ...]`; no key means greedy (mean roles).
        q_values: ``(params, Inputs, feats, carry) -> (AgentOut, carry part)``.
        target_feats: ``(target params, Inputs, online feats, key) -> feats`` that the
            target network uses.
        exact: groups that compute in float32 whatever ``algo.precision`` says:
            densities, divergences and classifiers.
        td_lr: for each group that the TD loss trains, the name of its learning rate.
        hypers: initial values of the method's own hyper-parameters.
        extra_losses: ``(params, Context, AgentOut) -> {name: [T, B]}`` joining the TD
            loss.
        experience: ``Context -> (Batch, weight [T+1, B, N] | None)``: what the TD step
            learns from, and the factor on the gradient of each action value.
        explore: ``(Moment, actions [B, N], carry) -> (actions, carry)``: changes what
            epsilon-greedy chose while experience is collected.
        intrinsic: ``(Context, AgentOut) -> (reward [T, B], metrics)``.
        phases: gradient steps besides the TD step.
        init_aux: ``(key, params) -> {name: tree}`` kept beside the parameters.
        after_update: what happens to the state after each update in training.
        remember: ``(state, metrics of the update) -> state``, last of all.
    """

    init: Callable[[Key], Params]
    target_groups: tuple[str, ...]
    carry: Callable[[int], Carry]
    encode: Callable[
        [Params, Inputs, Carry, Key | None], tuple[dict[str, Array], Carry]
    ]
    q_values: Callable[
        [Params, Inputs, dict[str, Array], Carry], tuple[AgentOut, Carry]
    ]
    target_feats: Callable[
        [Params, Inputs, dict[str, Array], Key | None], dict[str, Array]
    ]
    td_lr: Mapping[str, str]
    exact: tuple[str, ...] = ()
    hypers: Mapping[str, float] = field(default_factory=dict)
    extra_losses: Callable[[Params, Context, AgentOut], Losses] = _no_losses
    experience: Callable[[Context], tuple[Batch, Array | None]] = _own_experience
    explore: Callable[[Moment, Array, Carry], tuple[Array, Carry]] = _as_chosen
    intrinsic: Callable[[Context, AgentOut], tuple[Array | float, Metrics]] = _no_reward
    phases: tuple[Phase, ...] = ()
    init_aux: Callable[[Key, Params], dict[str, Any]] = lambda _, __: {}
    after_update: Callable[[LearnerState], LearnerState] = lambda state: state
    remember: Callable[[LearnerState, Metrics], LearnerState] = lambda state, _: state


def blank_inputs(rows: int, n_agents: int, obs_dim: int) -> Inputs:
    """One time step of zeros, to initialise networks with."""
    return Inputs(
        obs=jnp.zeros((1, rows, n_agents, obs_dim)),
        last_action=jnp.full((1, rows, n_agents), -1),
        reset=jnp.zeros((1, rows), bool),
    )
