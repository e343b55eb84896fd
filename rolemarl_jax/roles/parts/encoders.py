"""ACORM's encoders: of trajectories, of roles and keys, and what decodes them."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.config import (
    Above0,
    ConfigError,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Size,
    config,
)
from rolemarl_jax.nets.agents import Recurrent, blank_inputs, features
from rolemarl_jax.nets.layers import MLP, Linear, Module
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key

MIDDLE = 0.5  # of a sigmoid's range


@config
class ContrastiveConfig:
    """Encoders and contrastive learning, which methods inherit (key ``algo.role``).

    Attributes:
        embedding: units of the trajectory encoder, E.
        role: Z, features of a role.
        layer_norm: whether there is one before the role's sigmoid.
        centred: whether networks read roles without the middle of their range, which
            changes nothing that they can compute (a bias takes it away too) and much
            of how fast they learn beside small observations.
        clusters: K of K-means, or none for 3, or fewer than the agents.
        similarity: of a query and a key: ``bilinear`` (ACORM eq. 4), or ``cosine``,
            bilinear between what they are without the middle of their range, at unit
            length, over ``contrastive_temperature``.
        contrastive_temperature: of the latter.
        kmeans_iterations: of Lloyd's algorithm.
        contrastive: whether the InfoNCE loss is used.
        contrastive_lr: its learning rate.
        contrastive_every: learner updates between two of its steps.
        momentum: step of the key encoder towards the role encoder, each update.
        key_grad: whether the key encoder gets gradients too (authors' code).
        norm_by_active: normalise the loss by real steps only (the authors count
            padding).
        mask_dead: leave dead agents out of the loss.
        pretrain_embedding: updates of the trajectory encoder before training.
        pretrain_contrastive: updates of the roles before training.
        embedding_lr: learning rate of the former.
    """

    embedding: Size
    role: Size
    layer_norm: bool
    centred: bool
    clusters: Positive | None
    similarity: Literal["bilinear", "cosine"]
    contrastive_temperature: Above0
    kmeans_iterations: Natural
    contrastive: bool
    contrastive_lr: NonNegative
    contrastive_every: Positive
    momentum: Fraction
    key_grad: bool
    norm_by_active: bool
    mask_dead: bool
    pretrain_embedding: Natural
    pretrain_contrastive: Natural
    embedding_lr: NonNegative


READ_WHEN = (
    ReadWhen(
        (
            *("contrastive_lr", "contrastive_every", "momentum", "key_grad"),
            *("similarity", "contrastive_temperature", "clusters"),
            *("kmeans_iterations", "norm_by_active", "mask_dead"),
            "pretrain_contrastive",
        ),
        lambda c: c.contrastive,
        "algo.role.contrastive=true",
    ),
    ReadWhen(
        ("contrastive_temperature",),
        lambda c: c.similarity == "cosine",
        "algo.role.similarity=cosine",
    ),
    ReadWhen(
        ("embedding_lr",),
        lambda c: c.pretrain_embedding > 0,
        "algo.role.pretrain_embedding above 0",
    ),
)


class RoleEncoder(Module):
    """Role of an embedding: ``sigmoid(Linear(e))``, LayerNorm before it by choice."""

    role: Size
    layer_norm: bool

    @nn.compact
    def __call__(self, embedding: Array) -> Array:
        """Maps `[..., E]` to `[..., Z]`."""
        z = Linear(self.role)(embedding)
        if self.layer_norm:
            z = nn.LayerNorm(epsilon=1e-5)(z)
        return nn.sigmoid(z)


class Encoders(NamedTuple):
    """Networks of the parameter groups ``embedding``, ``role``, ``key``, ``decoder``.

    Attributes:
        cfg: what they are made of.
        clusters: K of K-means.
        spec: of the world.
        last_action: whether the trajectory encoder reads it besides the observation.
        trajectory: a GRU, `[T, B, N, in]` to `[T, B, N, E]`.
        to_role: `[..., E]` to `[..., Z]`, for roles and for keys.
        decoder: `[..., E]` to the next observation and the agent's index.
    """

    cfg: ContrastiveConfig
    clusters: int
    spec: EnvSpec
    last_action: bool
    trajectory: Recurrent
    to_role: RoleEncoder
    decoder: MLP


def make_encoders(
    cfg: ContrastiveConfig, spec: EnvSpec, *, last_action: bool
) -> Encoders:
    """The encoders of one configuration and world.

    Raises:
        ConfigError: more clusters than agents.
    """
    # With as many clusters as agents, no two agents would ever be alike.
    clusters = cfg.clusters or max(1, min(3, spec.n_agents - 1))
    if clusters > spec.n_agents:
        raise ConfigError(
            f"algo.role.clusters: got {clusters}, allowed: 1 to the number of "
            f"agents, {spec.n_agents} in {spec.name}"
        )
    return Encoders(
        cfg=cfg,
        clusters=clusters,
        spec=spec,
        last_action=last_action,
        trajectory=Recurrent(cfg.embedding, cfg.embedding),
        to_role=RoleEncoder(cfg.role, cfg.layer_norm),
        decoder=MLP((cfg.embedding, spec.obs_dim + spec.n_agents)),
    )


def init_encoders(nets: Encoders, key: Key) -> Params:
    """Parameters of ``embedding``, ``role``, ``key``, ``similarity``, ``decoder``."""
    cfg, spec = nets.cfg, nets.spec
    x, e = blank_inputs(1, spec), jnp.zeros((1, cfg.embedding))
    h0 = jnp.zeros((1, spec.n_agents, cfg.embedding))
    roles = nets.to_role.init(named(key, "role"), e)
    return {
        "embedding": nets.trajectory.init(
            named(key, "embedding"), read(nets, x), h0, x.reset
        ),
        "role": roles,
        "key": jax.tree.map(jnp.copy, roles),
        "similarity": _first_similarity(cfg, named(key, "w")),
        "decoder": nets.decoder.init(named(key, "decoder"), e),
    }


def _first_similarity(cfg: ContrastiveConfig, key: Key) -> Array:
    """W before training: the authors' draw, or the identity between directions."""
    if cfg.similarity == "cosine":
        return jnp.eye(cfg.role)
    return jax.random.uniform(key, (cfg.role, cfg.role))


def read(nets: Encoders, x: Inputs) -> Array:
    """What the trajectory encoder reads, `[T, B, N, in]`."""
    last_action = nets.last_action
    return features(x, nets.spec.n_actions, last_action=last_action, agent_id=False)


def embed(nets: Encoders, params: Params, x: Inputs, h0: Array) -> tuple[Array, Array]:
    """Embeddings and hidden states, `[T, B, N, E]` each; ``h0`` is `[B, N, E]`."""
    return nets.trajectory.apply(params["embedding"], read(nets, x), h0, x.reset)


def encode(
    nets: Encoders, params: Params, x: Inputs, carry: Carry, key: Key | None
) -> tuple[Feats, Hidden]:
    """Roles `[T, B, N, Z]` as networks read them, and embeddings `[T, B, N, E]`;
    nothing is drawn.
    """  # noqa: D205
    del key
    embedding, hidden = embed(nets, params, x, carry["embedding"])
    role = nets.to_role.apply(params["role"], embedding)
    role = role - MIDDLE if nets.cfg.centred else role
    return {"role": role, "embedding": embedding}, {"embedding": hidden}
