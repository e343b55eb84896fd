"""What ACORM's methods share: encoder, role, contrastive learning, pre-training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError
from rolemarl_jax.nets.agents import Recurrent, features
from rolemarl_jax.nets.layers import MLP, Linear, Module
from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.ops.contrastive import bilinear_info_nce
from rolemarl_jax.ops.optim import optimiser, soft_update
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Params, Phase, blank_inputs
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key, LearnerState

# A record with the keys that `roles.acorm.Config` describes; each method has its own.
PartsConfig = Any


class RoleEncoder(Module):
    """Role of an embedding: ``sigmoid(Linear(e))``, LayerNorm before it by choice."""

    role: int
    layer_norm: bool

    @nn.compact
    def __call__(self, embedding: Array) -> Array:
        """Maps `[..., E]` to `[..., Z]`."""
        z = Linear(self.role)(embedding)
        if self.layer_norm:
            z = nn.LayerNorm(epsilon=1e-5)(z)
        return nn.sigmoid(z)


@dataclass(frozen=True)
class RoleParts:
    """Trajectory encoder, role encoder and their losses.

    Attributes:
        init: ``key -> {embedding, role, key, similarity, decoder}``.
        read: ``Inputs -> [T, B, N, in]``, what the trajectory encoder reads.
        embed: ``(params, Inputs, h0 [B, N, E]) -> (embedding, hidden)``, both
            `[T, B, N, E]`.
        role: ``(params, embedding) -> [..., Z]``.
        decoding: ``(params, embedding [T, B, N, E], next obs [T, B, N, O]) ->
            [T, B]``, squared error of predicting observation and agent id.
        contrast: ``(params, embedding [T, B, N, E], obs [T, B, N, O], mask [T, B])
            -> [T, B]``, the InfoNCE loss; no gradient reaches the embedding.
    """

    init: Callable[[Key], Params]
    read: Callable[[Inputs], Array]
    embed: Callable[[Params, Inputs, Array], tuple[Array, Array]]
    role: Callable[[Params, Array], Array]
    decoding: Callable[[Params, Array, Array], Array]
    contrast: Callable[[Params, Array, Array, Array], Array]


def make_parts(cfg: PartsConfig, spec: EnvSpec, last_action: bool) -> RoleParts:
    """The parts for one configuration and world.

    Args:
        last_action: whether the trajectory encoder reads it besides the observation.

    Raises:
        ConfigError: more clusters than agents.
    """
    if not 1 <= cfg.clusters <= spec.n_agents:
        raise ConfigError(
            f"algo.role.clusters: got {cfg.clusters}, allowed: 1 to the number of "
            f"agents, {spec.n_agents} in {spec.name}"
        )
    encoder = Recurrent(cfg.embedding, cfg.embedding)
    role_net = RoleEncoder(cfg.role, cfg.layer_norm)
    decoder = MLP((cfg.embedding, spec.obs_dim + spec.n_agents))

    def read(x: Inputs) -> Array:
        return features(x, spec.n_actions, last_action=last_action, agent_id=False)

    def init(key: Key) -> Params:
        x, e = blank_inputs(1, spec.n_agents, spec.obs_dim), jnp.zeros(cfg.embedding)
        h0 = jnp.zeros((1, spec.n_agents, cfg.embedding))
        roles = role_net.init(named(key, "role"), e[None])
        return {
            "embedding": encoder.init(named(key, "embedding"), read(x), h0, x.reset),
            "role": roles,
            "key": jax.tree.map(jnp.copy, roles),
            "similarity": jax.random.uniform(named(key, "w"), (cfg.role, cfg.role)),
            "decoder": decoder.init(named(key, "decoder"), e[None]),
        }

    def embed(params: Params, x: Inputs, h0: Array) -> tuple[Array, Array]:
        return encoder.apply(params["embedding"], read(x), h0, x.reset)

    def decoding(params: Params, embedding: Array, ahead: Array) -> Array:
        ids = jnp.broadcast_to(
            jnp.eye(spec.n_agents), (*ahead.shape[:-1], spec.n_agents)
        )
        predicted = decoder.apply(params["decoder"], embedding)
        error = predicted - jnp.concatenate([ahead, ids], axis=-1)
        return (error**2).mean((-1, -2))

    def contrast(params: Params, embedding: Array, obs: Array, mask: Array) -> Array:
        embedding = jax.lax.stop_gradient(embedding)
        query = role_net.apply(params["role"], embedding)
        keys = role_net.apply(params["key"], embedding)
        alive = obs.any(-1) if cfg.mask_dead else None
        labels = kmeans(embedding, cfg.clusters, cfg.kmeans_iterations, alive)
        loss = bilinear_info_nce(query, keys, params["similarity"], labels, alive)
        if not cfg.norm_by_active:
            loss = loss * mask.mean() / mask.any(axis=1).mean()
        return loss

    return RoleParts(
        init=init,
        read=read,
        embed=embed,
        role=lambda params, e: role_net.apply(params["role"], e),
        decoding=decoding,
        contrast=contrast,
    )


def momentum(cfg: PartsConfig) -> Callable[[LearnerState], LearnerState]:
    """Moves the key encoder a step towards the role encoder."""

    def after(state: LearnerState) -> LearnerState:
        key = soft_update(state.params["key"], state.params["role"], cfg.momentum)
        return state._replace(params={**state.params, "key": key})

    return after


def rates(cfg: PartsConfig) -> dict[str, float]:
    """Learning rates of the phases, where these do anything."""
    found = {"embedding_lr": cfg.embedding_lr} if cfg.pretrain_embedding else {}
    return found | ({"contrastive_lr": cfg.contrastive_lr} if cfg.contrastive else {})


def phases(
    cfg: PartsConfig, decoding: Callable, contrast: Callable
) -> tuple[Phase, ...]:
    """Pre-training of the embedding, then of the roles; the latter goes on later.

    Args:
        decoding, contrast: losses of a ``Phase``.
    """
    rate = "contrastive_lr"
    learned = ("role", "similarity", *(("key",) if cfg.key_grad else ()))
    contrastive = {
        "name": "contrastive",
        "lr": dict.fromkeys(learned, rate),
        "optimiser": optimiser("adam", 1e-8, {}),
        "loss": contrast,
        "scales": {"contrastive": 1.0},
        "after": momentum(cfg),
    }
    embedding = Phase(
        name="embedding",
        stage="pretrain",
        lr=dict.fromkeys(("embedding", "decoder"), "embedding_lr"),
        optimiser=optimiser("adam", 1e-8, {}),
        loss=decoding,
        scales={"decoder": 1.0},
        updates=cfg.pretrain_embedding,
    )
    if not cfg.contrastive:
        return (embedding,)
    return (
        embedding,
        Phase(stage="pretrain", updates=cfg.pretrain_contrastive, **contrastive),
        Phase(stage="train", every=cfg.contrastive_every, **contrastive),
    )
