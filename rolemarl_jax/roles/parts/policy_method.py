"""What a method is to an on-policy learner: a record of pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rolemarl_jax.roles.parts.method import Carry, Params, Phase
from rolemarl_jax.types import Array, Inputs, Key, LearnerState

Hidden = dict[str, Array]
"""Recurrent states after every step, `[T, B, ...]`, by name of the carry."""


@dataclass(frozen=True)
class PolicyMethod:
    """Actor, critic and roles for PPO.

    All functions run over sequences; acting is the same with T = 1. The critic's
    recurrent state is carried while acting too, so that a block that begins in
    mid-episode knows the past.

    Attributes:
        init: ``key -> {group: params}``.
        carry: ``rows B -> {name: zeros [B, ...]}``, of encoder, actor and critic.
        encode: ``(params, Inputs, carry) -> (feats, Hidden)``; role features
            `[T, B, N, ...]` for both actor and critic.
        logits: ``(params, Inputs, feats, carry) -> ([T, B, N, A], Hidden)``.
        value: ``(params, Inputs, state [T, B, S], feats, carry) -> ([T, B, N],
            Hidden)``; gradients must not reach the actor's groups.
        actor_groups, critic_groups: parameters with ``actor_lr``, ``critic_lr``.
        hypers: initial values of the method's own hyper-parameters.
        phases: gradient steps on a ``Fresh`` block besides those of PPO.
        after_update: what happens to the state after each update in training.
    """

    init: Callable[[Key], Params]
    carry: Callable[[int], Carry]
    encode: Callable[[Params, Inputs, Carry], tuple[dict[str, Array], Hidden]]
    logits: Callable[[Params, Inputs, dict[str, Array], Carry], tuple[Array, Hidden]]
    value: Callable[
        [Params, Inputs, Array, dict[str, Array], Carry], tuple[Array, Hidden]
    ]
    actor_groups: tuple[str, ...]
    critic_groups: tuple[str, ...]
    hypers: Mapping[str, float] = field(default_factory=dict)
    phases: tuple[Phase, ...] = ()
    after_update: Callable[[LearnerState], LearnerState] = lambda state: state
