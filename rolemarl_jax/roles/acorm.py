"""ACORM: attention-guided contrastive role representations (Hu et al., ICLR 2024).

A GRU encodes each agent's trajectory, a role encoder maps the embedding to a role in
(0, 1)^Z, and the role joins the input of the utility network and, through the
attention mixer, of the mixing network. Roles are kept apart by an InfoNCE loss whose
positives are the agents of one K-means cluster (eq. 4), with a momentum key encoder
(eq. 5, in the form of the authors' `algorithm/acorm.py`).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.nets.agents import Recurrent, features
from rolemarl_jax.nets.layers import MLP, Linear
from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.ops.contrastive import bilinear_info_nce
from rolemarl_jax.ops.optim import optimiser, soft_update
from rolemarl_jax.rng import named
from rolemarl_jax.roles.base import (
    Carry,
    Context,
    Losses,
    Metrics,
    Params,
    Phase,
    RoleMethod,
    blank_inputs,
)
from rolemarl_jax.types import (
    AgentOut,
    Array,
    EnvSpec,
    Inputs,
    Key,
    LearnerState,
)


@config
class Config:
    """ACORM's role parts (key ``algo.role``).

    Attributes:
        hidden: units of the utility GRU. embedding: of the trajectory encoder.
        role: Z, features of a role. layer_norm: before the role's sigmoid.
        clusters: K of K-means. kmeans_iterations: of Lloyd's algorithm.
        role_lr: learning rate of role and trajectory encoder in the TD step.
        contrastive: whether the InfoNCE loss is used. contrastive_lr: its rate.
        contrastive_every: learner updates between two of its steps.
        momentum: step of the key encoder towards the role encoder, each update.
        key_grad: whether the key encoder gets gradients too (authors' code).
        norm_by_active: normalise the loss by real steps only (the authors count
            padding). mask_dead: leave dead agents out of it.
        pretrain_embedding, pretrain_contrastive: updates before training.
        embedding_lr: learning rate of the first.
    """

    name: str
    hidden: int
    embedding: int
    role: int
    layer_norm: bool
    clusters: int
    kmeans_iterations: int
    role_lr: float
    contrastive: bool
    contrastive_lr: float
    contrastive_every: int
    momentum: float
    key_grad: bool
    norm_by_active: bool
    mask_dead: bool
    pretrain_embedding: int
    pretrain_contrastive: int
    embedding_lr: float


class RoleEncoder(nn.Module):
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


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of ACORM; its mixer is chosen by ``algo.mixer``.

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
    agent = Recurrent(cfg.hidden, spec.n_actions)

    def read(x: Inputs) -> Array:
        return features(x, spec.n_actions, last_action=True, agent_id=False)

    def carry(rows: int) -> Carry:
        shape = (rows, spec.n_agents)
        return {
            "agent": jnp.zeros((*shape, cfg.hidden)),
            "embedding": jnp.zeros((*shape, cfg.embedding)),
        }

    def init(key: Key) -> Params:
        x, zeros = blank_inputs(1, spec.n_agents, spec.obs_dim), carry(1)
        e = jnp.zeros((1, cfg.embedding))
        seen = jnp.concatenate(
            [read(x), jnp.zeros((1, 1, spec.n_agents, cfg.role))], -1
        )
        roles = role_net.init(named(key, "role"), e)
        return {
            "agent": agent.init(named(key, "agent"), seen, zeros["agent"], x.reset),
            "embedding": encoder.init(
                named(key, "embedding"), read(x), zeros["embedding"], x.reset
            ),
            "role": roles,
            "key": jax.tree.map(jnp.copy, roles),
            "similarity": jax.random.uniform(named(key, "w"), (cfg.role, cfg.role)),
            "decoder": decoder.init(named(key, "decoder"), e),
        }

    def embed(params: Params, x: Inputs, h0: Array) -> tuple[Array, Array]:
        return encoder.apply(params["embedding"], read(x), h0, x.reset)

    def encode(
        params: Params, x: Inputs, carry: Carry, key: Key | None
    ) -> tuple[dict[str, Array], Carry]:
        del key
        embedding, h = embed(params, x, carry["embedding"])
        role = role_net.apply(params["role"], embedding)
        return {"role": role, "embedding": embedding}, {"embedding": h[-1]}

    def q_values(
        params: Params, x: Inputs, feats: dict[str, Array], carry: Carry
    ) -> tuple[AgentOut, Carry]:
        seen = jnp.concatenate([read(x), feats["role"]], axis=-1)
        q, h = agent.apply(params["agent"], seen, carry["agent"], x.reset)
        return AgentOut(q, feats), {"agent": h[-1]}

    def embed_batch(params: Params, ctx: Context) -> Array:
        h0 = carry(ctx.batch.reward.shape[1])["embedding"]
        return embed(params, ctx.batch.inputs, h0)[0][:-1]

    def decoding(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        predicted = decoder.apply(params["decoder"], embed_batch(params, ctx))
        ahead = ctx.batch.obs[1:]
        ids = jnp.eye(spec.n_agents)
        ids = jnp.broadcast_to(ids, (*ahead.shape[:-1], spec.n_agents))
        error = predicted - jnp.concatenate([ahead, ids], axis=-1)
        return {"decoder": (error**2).mean((-1, -2))}, {}

    def contrast(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        embedding = jax.lax.stop_gradient(embed_batch(params, ctx))
        query = role_net.apply(params["role"], embedding)
        keys = role_net.apply(params["key"], embedding)
        alive = ctx.batch.obs[:-1].any(-1) if cfg.mask_dead else None
        labels = kmeans(embedding, cfg.clusters, cfg.kmeans_iterations, alive)
        loss = bilinear_info_nce(query, keys, params["similarity"], labels, alive)
        mask = ctx.batch.mask
        if not cfg.norm_by_active:
            loss = loss * mask.mean() / mask.any(axis=1).mean()
        return {"contrastive": loss}, {}

    return RoleMethod(
        init=init,
        target_groups=("agent",),
        carry=carry,
        encode=encode,
        q_values=q_values,
        target_feats=lambda _params, _x, feats, _key: feats,
        td_lr={"agent": "lr", "role": "role_lr", "embedding": "role_lr"},
        hypers={
            "role_lr": cfg.role_lr,
            "contrastive_lr": cfg.contrastive_lr,
            "embedding_lr": cfg.embedding_lr,
        },
        phases=_phases(cfg, decoding, contrast),
        after_update=_momentum(cfg),
    )


def _momentum(cfg: Config) -> Callable[[LearnerState], LearnerState]:
    """Moves the key encoder a step towards the role encoder."""

    def after(state: LearnerState) -> LearnerState:
        key = soft_update(state.params["key"], state.params["role"], cfg.momentum)
        return state._replace(params={**state.params, "key": key})

    return after


def _phases(cfg: Config, decoding: Callable, contrast: Callable) -> tuple[Phase, ...]:
    """Pre-training of the embedding, then of the roles; the latter goes on later."""
    rate = "contrastive_lr"
    learned = ("role", "similarity", *(("key",) if cfg.key_grad else ()))
    contrastive = {
        "name": "contrastive",
        "lr": dict.fromkeys(learned, rate),
        "optimiser": optimiser("adam", 1e-8, {}),
        "loss": contrast,
        "scales": {"contrastive": 1.0},
        "after": _momentum(cfg),
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
