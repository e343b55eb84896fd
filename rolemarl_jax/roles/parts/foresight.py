"""What a world model foresees without looking, compared with what was then seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.nets.rssm import RSSM
from rolemarl_jax.ops import latent
from rolemarl_jax.ops.intrinsic import rows_ahead
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.world_models import story
from rolemarl_jax.types import Array, Batch, Key, PyTree


class Foresight(NamedTuple):
    """What a model says of the next k steps, on average; `[T, B, N]` each."""

    error: Array  # minus the log-likelihood of the observations, up to a constant
    latent: Array  # log-likelihood of the latents that it drew itself


def stream(key: Key | None, name: str) -> Key | None:
    """A key by name, where there is one."""
    return None if key is None else named(key, name)


def foresee(
    net: RSSM, params: PyTree, batch: Batch, role: Array, horizon: int, key: Key | None
) -> Foresight:
    """Follows each step for ``horizon`` steps without looking.

    From the posterior state at t the model is driven by the actions that were taken,
    in the role of step t; what it predicts is compared with what was seen (eq. 9). The
    mean is over those of the k steps that belong to the same episode.

    Args:
        role: `[T+1, B, N, Z]`. key: of the samples; ``None`` takes modes.
    """
    length = batch.mask.shape[0]
    role = role[..., : net.role]
    drive, before = story(batch, role, net.actions)
    fixed = role[:-1]
    posterior = net.apply(
        params,
        batch.obs,
        drive,
        before,
        batch.reset,
        stream(key, "seen"),
        method=net.observe,
    )

    def look(deter: Array, j: int | Array) -> tuple[Array, Foresight]:
        log_probs = net.apply(params, deter, method=net.prior)
        noise = (
            None
            if key is None
            else jax.random.uniform(named(key, "ahead", j), log_probs.shape[:-1])
        )
        drawn = latent.straight_through(log_probs, noise)
        predicted = net.apply(params, deter, drawn, fixed, method=net.decode)
        error = latent.symlog_error(predicted, rows_ahead(batch.obs, j, length))
        return drawn, Foresight(error, (log_probs * drawn).sum((-1, -2)))

    def further(carry: tuple, j: Array) -> tuple[tuple, None]:
        deter, drawn, total, alive, count = carry
        driven = rows_ahead(drive, j, length)
        deter = net.apply(params, deter, drawn, driven, fixed, method=net.imagine)
        drawn, found = look(deter, j)
        alive = alive * rows_ahead(batch.mask, j - 1, length)
        weight = alive[..., None]
        total = jax.tree.map(lambda sum_, x: sum_ + weight * x, total, found)
        return (deter, drawn, total, alive, count + weight), None

    # The state that the posterior's recurrence reached is the first one imagined.
    deter = posterior.deter[1:]
    drawn, total = look(deter, 1)
    count = jnp.ones((*batch.mask.shape, 1))
    carry = (deter, drawn, total, batch.mask, count)
    if horizon > 1:
        carry, _ = jax.lax.scan(further, carry, jnp.arange(2, horizon + 1))
    return jax.tree.map(lambda x: x / carry[4], carry[2])
