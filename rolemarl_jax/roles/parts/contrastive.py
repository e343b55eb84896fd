"""What ACORM's methods share: contrastive learning of roles, and pre-training."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.ops.contrastive import bilinear_info_nce
from rolemarl_jax.ops.optim import optimiser, soft_update
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.roles.parts.encoders import MIDDLE, ContrastiveConfig, Encoders
from rolemarl_jax.roles.parts.phase import AfterFn, LossFn, LossOut, Params, Phase
from rolemarl_jax.types import Array, LearnerState


def decoder_loss(
    nets: Encoders, params: Params, embedding: Array, next_obs: Array
) -> Array:
    """Squared error of predicting next observation and agent index, `[T, B]`.

    Args:
        embedding: `[T, B, N, E]`. next_obs: `[T, B, N, O]`.
    """
    n = nets.spec.n_agents
    ids = jnp.broadcast_to(jnp.eye(n), (*next_obs.shape[:-1], n))
    predicted = nets.decoder.apply(params["decoder"], embedding)
    error = predicted - jnp.concatenate([next_obs, ids], axis=-1)
    return (error**2).mean((-1, -2))


def contrastive_loss(
    nets: Encoders, params: Params, embedding: Array, obs: Array, mask: Array
) -> LossOut:
    """InfoNCE over the agents of each step, `[T, B]` (ACORM eq. 4).

    Positives are the agents of one cluster. No gradient reaches the embedding. Metric
    ``chance``: the loss of roles that tell nothing, which the clusters' sizes give,
    with padding counted as in the loss.

    Args:
        embedding: `[T, B, N, E]`. obs: `[T, B, N, O]`. mask: `[T, B]`.
    """
    cfg = nets.cfg
    embedding = jax.lax.stop_gradient(embedding)
    query = nets.to_role.apply(params["role"], embedding)
    keys = nets.to_role.apply(params["key"], embedding)
    alive = obs.any(-1) if cfg.mask_dead else None
    labels = kmeans(embedding, nets.clusters, cfg.kmeans_iterations, alive)
    if cfg.similarity == "cosine":
        query, keys = directions(query), directions(keys) / cfg.contrastive_temperature
    loss = bilinear_info_nce(query, keys, params["similarity"], labels, alive)
    chance = bilinear_info_nce(
        jnp.zeros_like(query), keys, params["similarity"], labels, alive
    )
    if not cfg.norm_by_active:
        loss, chance = (
            x * mask.mean() / mask.any(axis=1).mean() for x in (loss, chance)
        )
    return LossOut({"contrastive": loss}, {"chance": masked_mean(chance, mask)})


def directions(role: Array) -> Array:
    """Roles `[..., Z]` in (0, 1) as unit vectors from the middle of that range."""
    centred = role - MIDDLE
    square = (centred**2).sum(-1, keepdims=True)
    return centred * jax.lax.rsqrt(square + 1e-12)


def momentum(cfg: ContrastiveConfig) -> AfterFn:
    """Moves the key encoder a step towards the role encoder (ACORM eq. 5)."""

    def after(state: LearnerState) -> LearnerState:
        key = soft_update(state.params["key"], state.params["role"], cfg.momentum)
        return state._replace(params={**state.params, "key": key})

    return after


def rates(cfg: ContrastiveConfig) -> dict[str, float]:
    """Learning rates of the phases that there are."""
    found = {"embedding_lr": cfg.embedding_lr} if cfg.pretrain_embedding else {}
    return found | ({"contrastive_lr": cfg.contrastive_lr} if cfg.contrastive else {})


def without_gradient(cfg: ContrastiveConfig) -> tuple[str, ...]:
    """Groups that no phase changes: keys follow the roles, others are not used."""
    unused = () if cfg.pretrain_embedding else ("decoder",)
    if not cfg.contrastive:
        return (*unused, "key", "similarity")
    return unused if cfg.key_grad else (*unused, "key")


def phases(
    cfg: ContrastiveConfig, decoding: LossFn, contrast: LossFn
) -> tuple[Phase, ...]:
    """Pre-training of the embedding, then of the roles; the latter goes on later.

    Args:
        decoding, contrast: losses ``decoder`` and ``contrastive`` of a batch.
    """
    embedding = Phase(
        name="embedding",
        stage="pretrain",
        lr=dict.fromkeys(("embedding", "decoder"), "embedding_lr"),
        optimiser=optimiser("adam", 1e-8, {}),
        loss=decoding,
        scales={"decoder": 1.0},
        updates=cfg.pretrain_embedding,
    )
    first = (embedding,) if cfg.pretrain_embedding else ()
    if not cfg.contrastive:
        return first
    learned = ("role", "similarity", *(("key",) if cfg.key_grad else ()))
    train = Phase(
        name="contrastive",
        stage="train",
        lr=dict.fromkeys(learned, "contrastive_lr"),
        optimiser=optimiser("adam", 1e-8, {}),
        loss=contrast,
        scales={"contrastive": 1.0},
        every=cfg.contrastive_every,
        after=momentum(cfg),
    )
    before = replace(train, stage="pretrain", every=1, updates=cfg.pretrain_contrastive)
    return (*first, before, train)
