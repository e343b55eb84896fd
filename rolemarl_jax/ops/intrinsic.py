"""Intrinsic rewards as functions of networks' outputs."""

import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array


def policy_divergence(own: Array, others: Array, temperature: float | Array) -> Array:
    """How much its role shapes an agent's policy.

    ``KL(softmax(temperature q_i(. | z_i)) || mean_j softmax(q_i(. | z_j)))`` (R3DM,
    Goel et al. 2025, eq. 7 and 15; the temperature as in the authors' code).

    Args:
        own: `[..., N, A]` values of agent i in its own role.
        others: `[..., N, N, A]` values of agent i in the role of agent j.

    Returns:
        Nats, `[..., N]`; not negative where the temperature is 1.
    """
    log_own = jax.nn.log_softmax(temperature * own)
    log_each = jax.nn.log_softmax(others)
    log_mean = jax.nn.logsumexp(log_each, axis=-2) - jnp.log(others.shape[-2])
    return (jnp.exp(log_own) * (log_own - log_mean)).sum(-1)


def ahead(x: Array, steps: int | Array, length: int) -> Array:
    """Rows ``steps .. steps + length`` along the first axis, zeros beyond the end."""
    padding = jnp.zeros((length, *x.shape[1:]), x.dtype)
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([x, padding]), steps, length)
