"""Categorical latents: mixed with the uniform, sampled straight through, compared."""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array


def mixed_log_probs(logits: Array, unimix: float) -> Array:
    """``log((1 - unimix) softmax(logits) + unimix / C)`` over the last axis.

    Keeps every class possible, so that divergences stay finite (DreamerV3, Hafner et
    al. 2023, arXiv:2301.04104).
    """
    chex.assert_shape(logits, (..., None))
    chex.assert_type(logits, float)
    uniform = unimix / logits.shape[-1]
    return jnp.log((1.0 - unimix) * jax.nn.softmax(logits) + uniform)


def straight_through(log_probs: Array, uniform: Array | None) -> Array:
    """One-hot samples with the gradient of the probabilities.

    Args:
        log_probs: `[..., C]`. uniform: `[...]` in [0, 1), one number a sample
            (inverse of the cumulative distribution); ``None`` takes the mode.

    Returns:
        One-hot rows `[..., C]`.
    """
    chex.assert_shape(log_probs, (..., None))
    chex.assert_type(log_probs, float)
    if uniform is not None:
        chex.assert_shape(uniform, log_probs.shape[:-1])
        chex.assert_type(uniform, float)
    probs = jnp.exp(log_probs)
    fixed = jax.lax.stop_gradient(probs)
    return _attach(_mode(fixed) if uniform is None else _invert(fixed, uniform), probs)


def start_latent(log_probs: Array) -> Array:
    """Modes `[..., C]` with the gradient of the log-probabilities.

    So the authors' `dreamerv3-torch` begins an episode (`OneHotDist.mode`).
    """
    chex.assert_shape(log_probs, (..., None))
    chex.assert_type(log_probs, float)
    return _attach(_mode(jax.lax.stop_gradient(log_probs)), log_probs)


def _attach(hard: Array, soft: Array) -> Array:
    """The value of one with the gradient of the other; the difference is exact zero."""
    return hard + (soft - jax.lax.stop_gradient(soft))


def _mode(scores: Array) -> Array:
    return jax.nn.one_hot(jnp.argmax(scores, -1), scores.shape[-1], dtype=scores.dtype)


def _invert(probs: Array, uniform: Array) -> Array:
    """The class whose share of [0, 1) holds the given number, as one-hot."""
    classes = probs.shape[-1]
    below = probs @ jnp.triu(jnp.ones((classes, classes)))
    # The last sum is 1 but for rounding; it must hold every number that is left.
    passed = (uniform[..., None] >= below[..., :-1]).astype(probs.dtype)
    one = jnp.ones_like(probs[..., :1])
    return jnp.concatenate([one, passed], -1) - jnp.concatenate([passed, 0 * one], -1)


def kl(p: Array, q: Array) -> Array:
    """``KL(p || q)`` of independent categoricals, summed.

    Args:
        p, q: log-probabilities `[..., S, C]`.

    Returns:
        Nats, `[...]`.
    """
    chex.assert_shape(p, (..., None, None))
    chex.assert_equal_shape([p, q])
    chex.assert_type([p, q], float)
    return (jnp.exp(p) * (p - q)).sum((-1, -2))


def balanced_kl(
    posterior: Array, prior: Array, dynamics: float, representation: float, free: float
) -> Array:
    """Divergence that moves the prior more than the posterior, with free nats.

    ``dynamics max(KL(sg(post) || prior), free) + representation max(KL(post ||
    sg(prior)), free)`` (DreamerV3, eq. 5; the floor applies to the sum over latents).

    Args:
        posterior, prior: log-probabilities `[..., S, C]`.

    Returns:
        Loss `[...]`.
    """
    stop = jax.lax.stop_gradient
    learn_prior = jnp.maximum(kl(stop(posterior), prior), free)
    learn_posterior = jnp.maximum(kl(posterior, stop(prior)), free)
    return dynamics * learn_prior + representation * learn_posterior


def symlog(x: Array) -> Array:
    """``sign(x) log(1 + |x|)``, elementwise over `[...]`."""
    chex.assert_type(x, float)
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symlog_error(predicted: Array, x: Array) -> Array:
    """``sum (predicted - symlog x)^2`` over the last axis, `[..., O]` to `[...]`.

    Squares below 1e-8 count as zero, as in the authors' `dreamerv3-torch`.
    """
    chex.assert_shape(x, (..., None))
    chex.assert_equal_shape([predicted, x])
    chex.assert_type([predicted, x], float)
    square = (predicted - symlog(x)) ** 2
    return jnp.where(square < 1e-8, 0.0, square).sum(-1)
