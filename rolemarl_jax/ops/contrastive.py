"""Contrastive learning of roles."""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array


def bilinear_info_nce(
    query: Array, key: Array, w: Array, labels: Array, alive: Array | None = None
) -> Array:
    """InfoNCE with bilinear similarity and cluster positives.

    ``-mean_i log( sum_{j in cluster(i)} exp(q_i W k_j) / sum_j exp(q_i W k_j) )``:
    an agent's positives are the keys of all agents in its cluster, its own included
    (ACORM, Hu et al. 2024, eq. 4; own key as in the authors' `algorithm/acorm.py`).

    Args:
        query: `[..., N, Z]`. key: `[..., N, Z]`. w: `[Z, Z]`.
        labels: `[..., N]` int, cluster of each agent.
        alive: `[..., N]` bool, agents that take part; all if not given.

    Returns:
        Mean over anchors, `[...]`; 0 where nobody is alive.
    """
    chex.assert_equal_shape([query, key])
    chex.assert_shape([w, labels], [(query.shape[-1],) * 2, query.shape[:-1]])
    chex.assert_type([query, key, w, labels], [float, float, float, int])
    logits = jnp.einsum("...iz,zy,...jy->...ij", query, w, key)
    if alive is None:
        alive = jnp.ones(labels.shape, bool)
    chex.assert_shape(alive, labels.shape)
    chex.assert_type(alive, bool)
    present = jnp.broadcast_to(alive[..., None, :], logits.shape)
    same = labels[..., :, None] == labels[..., None, :]
    # A dead anchor has no positives; the diagonal keeps its unused loss finite.
    positive = (same & present) | jnp.eye(labels.shape[-1], dtype=bool)
    every = present | positive
    loss = jax.nn.logsumexp(logits, axis=-1, where=every) - jax.nn.logsumexp(
        logits, axis=-1, where=positive
    )
    weight = alive.astype(loss.dtype)
    return (loss * weight).sum(-1) / jnp.maximum(weight.sum(-1), 1.0)
