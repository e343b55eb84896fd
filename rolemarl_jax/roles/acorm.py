"""ACORM: attention-guided contrastive role representations (Hu et al., ICLR 2024).

A GRU encodes each agent's trajectory, a role encoder maps the embedding to a role in
(0, 1)^Z, and the role joins the input of the utility network and, through the
attention mixer, of the mixing network. Roles are kept apart by an InfoNCE loss whose
positives are the agents of one K-means cluster (eq. 4), with a momentum key encoder
(eq. 5, in the form of the authors' `algorithm/acorm.py`).
"""

import jax.numpy as jnp

from rolemarl_jax.config import config
from rolemarl_jax.nets.agents import Recurrent
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.contrastive import make_parts, momentum, phases, rates
from rolemarl_jax.roles.parts.method import (
    Carry,
    Context,
    Losses,
    Metrics,
    Params,
    RoleMethod,
    blank_inputs,
)
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


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


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of ACORM; its mixer is chosen by ``algo.mixer``.

    Raises:
        ConfigError: more clusters than agents.
    """
    parts = make_parts(cfg, spec, last_action=True)
    agent = Recurrent(cfg.hidden, spec.n_actions)

    def carry(rows: int) -> Carry:
        shape = (rows, spec.n_agents)
        return {
            "agent": jnp.zeros((*shape, cfg.hidden)),
            "embedding": jnp.zeros((*shape, cfg.embedding)),
        }

    def init(key: Key) -> Params:
        x, zeros = blank_inputs(1, spec.n_agents, spec.obs_dim), carry(1)
        roles = jnp.zeros((1, 1, spec.n_agents, cfg.role))
        seen = jnp.concatenate([parts.read(x), roles], -1)
        own = agent.init(named(key, "agent"), seen, zeros["agent"], x.reset)
        return {"agent": own, **parts.init(key)}

    def encode(
        params: Params, x: Inputs, carry: Carry, key: Key | None
    ) -> tuple[dict[str, Array], Carry]:
        del key
        embedding, h = parts.embed(params, x, carry["embedding"])
        role = parts.role(params, embedding)
        return {"role": role, "embedding": embedding}, {"embedding": h[-1]}

    def q_values(
        params: Params, x: Inputs, feats: dict[str, Array], carry: Carry
    ) -> tuple[AgentOut, Carry]:
        seen = jnp.concatenate([parts.read(x), feats["role"]], axis=-1)
        q, h = agent.apply(params["agent"], seen, carry["agent"], x.reset)
        return AgentOut(q, feats), {"agent": h[-1]}

    def embed_batch(params: Params, ctx: Context) -> Array:
        h0 = carry(ctx.batch.reward.shape[1])["embedding"]
        return parts.embed(params, ctx.batch.inputs, h0)[0][:-1]

    def decoding(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        embedding = embed_batch(params, ctx)
        return {"decoder": parts.decoding(params, embedding, ctx.batch.obs[1:])}, {}

    def contrast(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        batch, embedding = ctx.batch, embed_batch(params, ctx)
        loss = parts.contrast(params, embedding, batch.obs[:-1], batch.mask)
        return {"contrastive": loss}, {}

    return RoleMethod(
        init=init,
        target_groups=("agent",),
        carry=carry,
        encode=encode,
        q_values=q_values,
        target_feats=lambda _params, _x, feats, _key: feats,
        exact=("similarity", "decoder"),
        td_lr={"agent": "lr", "role": "role_lr", "embedding": "role_lr"},
        hypers={
            "role_lr": cfg.role_lr,
            **rates(cfg),
        },
        phases=phases(cfg, decoding, contrast),
        after_update=momentum(cfg),
    )
