"""Intrinsic rewards as functions of networks' outputs."""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array


def policy_divergence(own: Array, others: Array, temperature: float | Array) -> Array:
    """How much its role shapes an agent's policy.

    ``KL(softmax(temperature q_i(. | z_i)) || mean_j softmax(q_i(. | z_j)))`` (R3DM,
    Goel et al. 2025, eq. 7 and 15; the temperature as in the authors' code).

    Args:
        own: `[..., N, A]` values of agent i in its own role.
        others: `[..., N, N, A]` values of agent i in the role of agent j, of the same
            type: rounding one of them alone would look like a divergence.

    Returns:
        Nats, `[..., N]`; not negative where the temperature is 1.
    """
    chex.assert_shape(own, (..., None, None))
    *batch, n, actions = own.shape
    chex.assert_shape(others, (*batch, n, n, actions))
    chex.assert_rank(temperature, 0)
    chex.assert_type(own, float)
    chex.assert_type(others, own.dtype)
    log_own = jax.nn.log_softmax(temperature * own)
    log_each = jax.nn.log_softmax(others)
    log_mean = jax.nn.logsumexp(log_each, axis=-2) - jnp.log(others.shape[-2])
    return (jnp.exp(log_own) * (log_own - log_mean)).sum(-1)


def rows_ahead(x: Array, steps: int | Array, length: int) -> Array:
    """Rows ``steps .. steps + length`` of `[T, ...]`, zeros beyond the end.

    Args:
        steps: how far ahead the first row is, `[]` int. length: how many rows.
    """
    chex.assert_shape(x, (None, ...))
    chex.assert_rank(steps, 0)
    chex.assert_type(steps, int)
    padding = jnp.zeros((length, *x.shape[1:]), x.dtype)
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate([x, padding]), steps, length)
