"""From a block just collected to what PPO's gradient steps read."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.ops import gae
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.roles.parts.method import Carry, Hidden, PolicyMethod
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.roles.parts.shaping import Shaping, shaped
from rolemarl_jax.types import Array, Inputs, LearnerState, Trajectory


class ValueNormConfig(Protocol):
    """Keys of ``learners.mappo.Config`` that shape the critic's targets."""

    @property
    def value_norm(self) -> float | None: ...  # noqa: D102


Outlook = tuple[Array, Array]
"""Logits `[T, B, N, A]` of the actor and values `[T, B, N]` of the critic."""


class Old(NamedTuple):
    """What is computed once a block, with the parameters that acted; `[T, B, N]`."""

    log_prob: Array  # of the actions taken
    value: Array  # normalised, as the critic's output
    advantage: Array  # standardised
    target: Array  # for the critic's output
    weight: Array  # of the agent in the actor's losses, 1 on average


class Sequences(NamedTuple):
    """What a PPO step reads: whole sequences of a block."""

    inputs: Inputs  # [T, B, ...]
    state: Array  # [T, B, S]
    avail: Array  # [T, B, N, A]
    action: Array  # [T, B, N]
    mask: Array  # [T, B]
    carry: Carry  # [B, ...]


def sequences(block: Trajectory) -> Sequences:
    """All of a block's."""
    return Sequences(
        inputs=block.inputs,
        state=block.state,
        avail=block.avail,
        action=block.action,
        mask=block.mask,
        carry=block.carry,
    )


def forward(
    method: PolicyMethod, params: Params, seq: Sequences
) -> tuple[Outlook, Hidden]:
    """Logits and values of sequences, and the recurrent states that led to them."""
    feats, encoded = method.encode(params, seq.inputs, seq.carry, None)
    logits, acted = method.logits(params, seq.inputs, feats, seq.carry)
    value, valued = method.value(params, seq.inputs, seq.state, feats, seq.carry)
    return (logits, value), {**encoded, **acted, **valued}


def prepare(
    cfg: ValueNormConfig,
    method: PolicyMethod,
    shaping: Shaping,
    state: LearnerState,
    block: Trajectory,
    before: tuple[Outlook, Hidden],
) -> tuple[Old, dict[str, Any]]:
    """Log-probabilities, values, advantages and targets of a block.

    Args:
        before: what ``forward`` gives with the parameters of ``state``.

    Returns:
        These, and ``LearnerState.aux`` with the moments of the targets.
    """
    (logits, value), hidden = before
    final = final_values(method, state.params, block, hidden)

    mean, scale = _moments(state.aux)
    next_value = gae.following(value, final, block.final_at) * scale + mean
    own = shaped(shaping, state, block.reward, block.obs)
    reward = state.hypers["reward_scale"] * own
    advantage = gae.gae(
        reward,
        value * scale + mean,
        next_value,
        block.terminated,
        block.truncated,
        state.hypers["gamma"],
        state.hypers["gae_lambda"],
    )
    target, aux = advantage + value * scale + mean, state.aux
    if cfg.value_norm is not None:
        aux = {
            **aux,
            "value": gae.track(aux["value"], target, block.mask, cfg.value_norm),
        }
    mean, scale = _moments(aux)
    choice = (block.avail.sum(-1) > 1) * block.mask[..., None]
    old = Old(
        log_prob=jnp.asarray(categorical(logits, block.avail).log_prob(block.action)),
        value=value,
        advantage=gae.standardised(advantage, choice),
        target=(target - mean) / scale,
        weight=choice / jnp.maximum(masked_mean(choice, block.mask), 1e-6),
    )
    return old, aux


def _moments(aux: dict[str, Any]) -> tuple[Array | float, Array | float]:
    """What the critic's output is shifted and multiplied by to give returns."""
    return gae.location_scale(aux["value"]) if "value" in aux else (0.0, 1.0)


def final_values(
    method: PolicyMethod, params: Params, block: Trajectory, hidden: Hidden
) -> Array:
    """Values `[K, B, N]` of the final observations, each one step after its own.

    The K observations of B worlds are K * B rows of one time step.
    """
    at = jnp.minimum(block.final_at, block.reward.shape[0] - 1)
    there = at, jnp.arange(at.shape[1])

    def rows(x: Array) -> Array:
        return x.reshape((-1, *x.shape[2:]))

    carry = {name: rows(h[there]) for name, h in hidden.items()}
    final = jax.tree.map(lambda x: rows(x)[None], block.final)
    action = rows(block.action[there])[None]
    x = Inputs(final.obs, action, jnp.zeros((1, at.size), bool))
    feats, _ = method.encode(params, x, carry, None)
    value, _ = method.value(params, x, final.state, feats, carry)
    return value.reshape((*at.shape, -1))


def take(seq: Sequences, old: Old, pick: Array) -> tuple[Sequences, Old]:
    """Some sequences of a block."""
    carry = jax.tree.map(lambda x: x[pick], seq.carry)
    rest, old = jax.tree.map(lambda x: x[:, pick], (seq._replace(carry=()), old))
    return rest._replace(carry=carry), old
