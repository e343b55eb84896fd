"""ACORM on MAPPO (Hu et al., ICLR 2024, appendix D).

The role parts of ACORM; the actor reads embedding and role, the critic attends from
the state's history to the roles, through which it sends no gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.nets.critic import RoleCritic
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.contrastive import (
    RoleParts,
    make_parts,
    momentum,
    phases,
    rates,
)
from rolemarl_jax.roles.parts.method import (
    Carry,
    Context,
    Losses,
    Metrics,
    Params,
    blank_inputs,
)
from rolemarl_jax.roles.parts.policy_method import Hidden, PolicyMethod
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key


@config
class Config:
    """ACORM's parts for PPO (key ``algo.role``).

    Attributes:
        actor_hidden: units of the actor's head.
        critic_hidden: units of the critic's observation GRU, and of its state GRU for
            each agent. heads, attention, out: as in the attention mixer.
            critic_head: units of the critic's head.
        last_action: whether the trajectory encoder reads it besides the observation.
        others: as in ``roles.acorm.Config``.
    """

    name: str
    actor_hidden: int
    critic_hidden: int
    heads: int
    attention: int
    out: int
    critic_head: int
    last_action: bool
    embedding: int
    role: int
    layer_norm: bool
    clusters: int
    kmeans_iterations: int
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


def make(cfg: Config, spec: EnvSpec) -> PolicyMethod:
    """The method record of ACORM-MAPPO.

    Raises:
        ConfigError: more clusters than agents, or heads that do not fit.
    """
    if cfg.attention % cfg.heads:
        raise ConfigError(
            f"algo.role.heads: got {cfg.heads}, which does not divide "
            f"algo.role.attention={cfg.attention}"
        )
    parts = make_parts(cfg, spec, cfg.last_action)
    actor = MLP((cfg.actor_hidden, spec.n_actions))
    critic = RoleCritic(
        spec.n_agents,
        cfg.critic_hidden,
        cfg.heads,
        cfg.attention,
        cfg.out,
        cfg.critic_head,
    )
    carry, init = _beginnings(cfg, spec, parts, actor, critic)
    encode, logits = _policy(parts, actor)

    return PolicyMethod(
        init=init,
        carry=carry,
        encode=encode,
        logits=logits,
        value=_value(critic),
        actor_groups=("actor", "embedding", "role"),
        critic_groups=("critic",),
        hypers=rates(cfg),
        phases=phases(cfg, *_losses(parts)),
        after_update=momentum(cfg),
    )


def _beginnings(
    cfg: Config, spec: EnvSpec, parts: RoleParts, actor: MLP, critic: RoleCritic
) -> tuple[Callable[[int], Carry], Callable[[Key], Params]]:
    """Recurrent state and parameters to begin with."""

    def carry(rows: int) -> Carry:
        n = spec.n_agents
        return {
            "embedding": jnp.zeros((rows, n, cfg.embedding)),
            "critic_own": jnp.zeros((rows, n, cfg.critic_hidden)),
            "critic_state": jnp.zeros((rows, n * cfg.critic_hidden)),
        }

    def init(key: Key) -> Params:
        x, zeros = blank_inputs(1, spec.n_agents, spec.obs_dim), carry(1)
        seen = jnp.zeros((1, cfg.embedding + cfg.role))
        judged = critic.init(
            named(key, "critic"),
            x.obs,
            jnp.zeros((1, 1, spec.state_dim)),
            x.reset,
            jnp.zeros((1, 1, spec.n_agents, cfg.role)),
            zeros["critic_own"],
            zeros["critic_state"],
        )
        own = actor.init(named(key, "actor"), seen)
        return {"actor": own, "critic": judged, **parts.init(key)}

    return carry, init


def _policy(parts: RoleParts, actor: MLP) -> tuple[Any, Any]:
    """Roles and embeddings of the agents, and the actor's logits from them."""

    def encode(
        params: Params, x: Inputs, carry: Carry
    ) -> tuple[dict[str, Array], Hidden]:
        embedding, h = parts.embed(params, x, carry["embedding"])
        role = parts.role(params, embedding)
        return {"role": role, "embedding": embedding}, {"embedding": h}

    def logits(
        params: Params, x: Inputs, feats: dict[str, Array], carry: Carry
    ) -> tuple[Array, Hidden]:
        del x, carry
        seen = jnp.concatenate([feats["embedding"], feats["role"]], axis=-1)
        return actor.apply(params["actor"], seen), {}

    return encode, logits


def _value(critic: RoleCritic) -> Any:
    """The critic's values, through which no gradient reaches the roles."""

    def value(
        params: Params, x: Inputs, state: Array, feats: dict[str, Array], carry: Carry
    ) -> tuple[Array, Hidden]:
        out, own, team = critic.apply(
            params["critic"],
            x.obs,
            state,
            x.reset,
            jax.lax.stop_gradient(feats["role"]),
            carry["critic_own"],
            carry["critic_state"],
        )
        return out, {"critic_own": own, "critic_state": team}

    return value


def _losses(parts: RoleParts) -> tuple[Any, Any]:
    """Losses of the decoder and of contrastive learning on a block."""

    def embed_block(params: Params, ctx: Context) -> Array:
        h0 = ctx.batch.carry["embedding"]
        return parts.embed(params, ctx.batch.inputs, h0)[0]

    def decoding(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        block = ctx.batch
        ahead = jnp.concatenate([block.obs[1:], block.obs[:1]])
        # The observation after the last step of an episode or block is not there.
        known = jnp.concatenate([~block.reset[1:], jnp.zeros_like(block.reset[:1])])
        loss = parts.decoding(params, embed_block(params, ctx), ahead)
        return {"decoder": loss * known / known.mean()}, {}

    def contrast(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        block, embedding = ctx.batch, embed_block(params, ctx)
        loss = parts.contrast(params, embedding, block.obs, block.mask)
        return {"contrastive": loss}, {}

    return decoding, contrast
