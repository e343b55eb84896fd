"""From a block just collected to what PPO's gradient steps read."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.ops import gae
from rolemarl_jax.roles.base import Carry, Params
from rolemarl_jax.roles.policy_base import Hidden, PolicyMethod
from rolemarl_jax.roles.shaping import Shaping, shaped
from rolemarl_jax.types import Array, Fresh, Inputs, LearnerState


class TargetConfig(Protocol):
    """Keys of ``learners.mappo.Config`` that shape targets."""

    @property
    def value_norm(self) -> float | None: ...  # noqa: D102


class Sequences(NamedTuple):
    """What a PPO step reads: whole sequences of a block, and what was computed once."""

    inputs: Inputs  # [T, B, ...]
    state: Array  # [T, B, S]
    avail: Array  # [T, B, N, A]
    action: Array  # [T, B, N]
    log_prob: Array  # [T, B, N] of the policy that acted
    value: Array  # [T, B, N] before the update, normalised as the critic's output
    advantage: Array  # [T, B, N] standardised
    target: Array  # [T, B, N] for the critic's output
    weight: Array  # [T, B, N] of the agent in the actor's losses, 1 on average
    mask: Array  # [T, B]
    carry: Carry  # [B, ...]


def prepare(
    cfg: TargetConfig,
    method: PolicyMethod,
    shaping: Shaping,
    state: LearnerState,
    block: Fresh,
) -> tuple[Sequences, LearnerState]:
    """Log-probabilities, values, advantages and targets of a block, computed once."""
    params, x, carry = state.params, block.inputs, block.carry
    feats, encoded = method.encode(params, x, carry)
    logits, acted = method.logits(params, x, feats, carry)
    value, judged = method.value(params, x, block.state, feats, carry)
    final = final_values(method, params, block, {**encoded, **acted, **judged})

    mean, scale = _moments(state)
    ahead = gae.following(value, final, block.final_at) * scale + mean
    own = shaped(shaping, state, block.reward, block.obs)
    reward = state.hypers["reward_scale"] * own
    advantage = gae.gae(
        reward,
        value * scale + mean,
        ahead,
        block.terminated,
        block.truncated,
        state.hypers["gamma"],
        state.hypers["gae_lambda"],
    )
    target = advantage + value * scale + mean
    if cfg.value_norm is not None:
        moments = gae.track(state.aux["value"], target, cfg.value_norm)
        state = state._replace(aux={**state.aux, "value": moments})
    mean, scale = _moments(state)
    choice = (block.avail.sum(-1) > 1).astype(jnp.float32)
    sequences = Sequences(
        inputs=x,
        state=block.state,
        avail=block.avail,
        action=block.action,
        log_prob=jnp.asarray(categorical(logits, block.avail).log_prob(block.action)),
        value=value,
        advantage=gae.standardised(advantage, choice),
        target=(target - mean) / scale,
        weight=choice / jnp.maximum(choice.mean(), 1e-6),
        mask=block.mask,
        carry=carry,
    )
    return sequences, state


def _moments(state: LearnerState) -> tuple[Array | float, Array | float]:
    """What the critic's output is multiplied by and shifted to give returns."""
    if "value" not in state.aux:
        return 0.0, 1.0
    return gae.location_scale(state.aux["value"])


def final_values(
    method: PolicyMethod, params: Params, block: Fresh, hidden: Hidden
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
    feats, _ = method.encode(params, x, carry)
    value, _ = method.value(params, x, final.state, feats, carry)
    return value.reshape((*at.shape, -1))


def take(sequences: Sequences, pick: Array) -> Sequences:
    """Some sequences of a block."""
    carry = jax.tree.map(lambda x: x[pick], sequences.carry)
    rest = jax.tree.map(lambda x: x[:, pick], sequences._replace(carry=()))
    return rest._replace(carry=carry)
