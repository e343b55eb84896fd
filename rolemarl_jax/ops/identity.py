"""Telling agents apart by what they observe: losses of EOI's identity classifier."""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array, Key


def own(x: Array) -> Array:
    """What is said of agent i as agent i: the diagonal of `[..., N, N]`."""
    chex.assert_shape(x, (..., x.shape[-1], x.shape[-1]))
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def positives(p: Array, reset: Array, window: int, key: Key) -> tuple[Array, Array]:
    """Predictions at an earlier step of the same agent's episode.

    Args:
        p: `[T, B, N, K]`. reset: `[T, B]` bool, first step of an episode.
        window: how many steps back at most; the step is uniform among those there are.

    Returns:
        Predictions `[T, B, N, K]`, and `[T, B]` bool: false at an episode's first
        step, which has no earlier one.
    """
    chex.assert_rank(p, 4)
    chex.assert_shape(reset, p.shape[:2])
    chex.assert_type([p, reset], [float, bool])
    steps = jnp.arange(p.shape[0])[:, None]
    age = steps - jax.lax.cummax(jnp.where(reset, steps, 0), axis=0)
    choices = jnp.minimum(age, window)[..., None]
    back = 1 + jnp.floor(jax.random.uniform(key, p.shape[:-1]) * choices)
    earlier = jnp.zeros_like(p)
    for d in range(1, window + 1):
        before = jnp.concatenate([jnp.zeros_like(p[:d]), p[:-d]])
        earlier = jnp.where((back == d)[..., None], before, earlier)
    return earlier, age > 0


def losses(log_p: Array) -> dict[str, Array]:
    """Cross entropy with the agent's index, and entropy (EOI eq. 5, arXiv:2006.05842).

    The entropy of the prediction is what the mutual information of agent and
    observation asks to be small.

    Args:
        log_p: log probabilities of the agents' indices, `[..., N, N]`.

    Returns:
        ``identity`` and ``mutual_information``, means over agents, `[...]`.
    """
    chex.assert_type(log_p, float)
    return {
        "identity": -own(log_p).mean(-1),
        "mutual_information": cross_entropy(jnp.exp(log_p), log_p).mean(-1),
    }


def positive_distance(log_p: Array, reset: Array, window: int, key: Key) -> Array:
    """Cross entropy with an earlier prediction for the same agent (EOI eq. 2).

    The earlier prediction is a fixed target, as in the authors' later code.

    Args:
        log_p: `[T, B, N, N]`. reset: `[T, B]` bool. window: see ``positives``.

    Returns:
        Means over agents `[T, B]`, 0 at an episode's first step.
    """
    p = jax.lax.stop_gradient(jnp.exp(log_p))
    earlier, there = positives(p, reset, window, key)
    return cross_entropy(earlier, log_p).mean(-1) * there


def cross_entropy(p: Array, log_q: Array) -> Array:
    """``-sum p log q`` over the last axis: `[..., K]` twice to `[...]`."""
    chex.assert_equal_shape([p, log_q])
    chex.assert_type([p, log_q], float)
    return -(p * log_q).sum(-1)
