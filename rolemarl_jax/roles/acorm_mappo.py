"""ACORM on MAPPO (Hu et al., ICLR 2024, appendix D).

The role parts of ACORM; the actor reads embedding and role, the critic attends from
the state's history to the roles, through which it sends no gradient.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Size, config, require_divisor
from rolemarl_jax.nets.agents import blank_inputs
from rolemarl_jax.nets.attention import attended_roles
from rolemarl_jax.nets.critic import RoleCritic
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts import contrastive, encoders
from rolemarl_jax.roles.parts.encoders import ContrastiveConfig, Encoders
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, PolicyMethod
from rolemarl_jax.roles.parts.phase import Context, LossOut, Metrics, Params
from rolemarl_jax.roles.parts.view import RoleView, attended
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key


@config
class Config(ContrastiveConfig):
    """ACORM's parts for PPO (key ``algo.role``), besides those that it inherits.

    Attributes:
        name: of the method, ``acorm_mappo``.
        actor_hidden: units of the actor's head.
        critic_hidden: units of the critic's observation GRU, and of its state GRU for
            each agent.
        heads: of the critic's attention.
        attention: units of queries and keys, all heads together.
        out: units of the attention's output.
        critic_head: units of the critic's head.
        last_action: whether the trajectory encoder reads it besides the observation.
    """

    name: str
    actor_hidden: Size
    critic_hidden: Size
    heads: Size
    attention: Size
    out: Size
    critic_head: Size
    last_action: bool


READ_WHEN = encoders.READ_WHEN


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    encoders: Encoders
    actor: MLP
    critic: RoleCritic


def make(cfg: Config, spec: EnvSpec) -> PolicyMethod:
    """The method record of ACORM-MAPPO.

    Raises:
        ConfigError: more clusters than agents, or heads that do not fit.
    """
    width = ("algo.role.attention", cfg.attention)
    require_divisor("algo.role.heads", cfg.heads, *width)
    setup = Setup(
        cfg=cfg,
        spec=spec,
        encoders=encoders.make_encoders(cfg, spec, last_action=cfg.last_action),
        actor=MLP((cfg.actor_hidden, spec.n_actions)),
        critic=RoleCritic(
            spec.n_agents,
            cfg.critic_hidden,
            cfg.heads,
            cfg.attention,
            cfg.out,
            cfg.critic_head,
        ),
    )
    return PolicyMethod(
        init=partial(_init, setup),
        carry=partial(_carry, setup),
        encode=partial(encoders.encode, setup.encoders),
        logits=partial(logits, setup),
        value=partial(value, setup),
        actor_groups=("actor", "embedding", "role"),
        critic_groups=("critic",),
        no_gradient=contrastive.without_gradient(cfg),
        exact=("similarity", "decoder"),
        hypers=contrastive.rates(cfg),
        phases=contrastive.phases(
            cfg, partial(decoding_loss, setup), partial(contrastive_loss, setup)
        ),
        after_update=contrastive.momentum(cfg),
        role_metrics=partial(role_metrics, setup),
    )


def _carry(setup: Setup, rows: int) -> Carry:
    n, cfg = setup.spec.n_agents, setup.cfg
    return {
        "embedding": jnp.zeros((rows, n, cfg.embedding)),
        "critic_own": jnp.zeros((rows, n, cfg.critic_hidden)),
        "critic_state": jnp.zeros((rows, n * cfg.critic_hidden)),
    }


def _init(setup: Setup, key: Key) -> Params:
    cfg, spec = setup.cfg, setup.spec
    x, zeros = blank_inputs(1, spec), _carry(setup, 1)
    critic = setup.critic.init(
        named(key, "critic"),
        x.obs,
        jnp.zeros((1, 1, spec.state_dim)),
        x.reset,
        jnp.zeros((1, 1, spec.n_agents, cfg.role)),
        zeros["critic_own"],
        zeros["critic_state"],
    )
    actor = setup.actor.init(
        named(key, "actor"), jnp.zeros((1, cfg.embedding + cfg.role))
    )
    own = encoders.init_encoders(setup.encoders, key)
    return {"actor": actor, "critic": critic, **own}


def logits(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[Array, Hidden]:
    """The actor's logits `[T, B, N, A]`, from embedding and role."""
    del x, carry
    inputs = jnp.concatenate([feats["embedding"], feats["role"]], axis=-1)
    return setup.actor.apply(params["actor"], inputs), {}


def value(
    setup: Setup, params: Params, x: Inputs, state: Array, feats: Feats, carry: Carry
) -> tuple[Array, Hidden]:
    """The critic's values `[T, B, N]`; no gradient reaches the roles."""
    out, own, team = setup.critic.apply(
        params["critic"],
        x.obs,
        state,
        x.reset,
        jax.lax.stop_gradient(feats["role"]),
        carry["critic_own"],
        carry["critic_state"],
    )
    return out, {"critic_own": own, "critic_state": team}


def role_metrics(setup: Setup, params: Params, view: RoleView) -> Metrics:
    """How the critic attends to the roles; what agents observe is not part of that."""
    steps, worlds = view.playing.shape
    obs = jnp.zeros((steps, worlds, setup.spec.n_agents, setup.spec.obs_dim))
    zeros = _carry(setup, worlds)
    weight = attended_roles(
        setup.critic,
        params["critic"],
        obs,
        view.state,
        view.reset,
        view.role,
        zeros["critic_own"],
        zeros["critic_state"],
    )
    return attended(weight, view)


def _embedding(setup: Setup, params: Params, ctx: Context) -> Array:
    """Embeddings of a block, `[T, B, N, E]`, going on from its first step."""
    h0 = ctx.batch.carry["embedding"]
    return encoders.embed(setup.encoders, params, ctx.batch.inputs, h0)[0]


def decoding_loss(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """Error of predicting what is seen next from the embedding (pre-training)."""
    block = ctx.batch
    next_obs = jnp.concatenate([block.obs[1:], block.obs[:1]])
    # The observation after the last step of an episode or block is not there.
    known = jnp.concatenate([~block.reset[1:], jnp.zeros_like(block.reset[:1])])
    known = known.astype(jnp.float32)
    # All there is to learn from; in a block of one tick, or of episodes of one step,
    # nothing, and then there is no loss.
    share = masked_mean(known, block.mask)
    embedding = _embedding(setup, params, ctx)
    loss = contrastive.decoder_loss(setup.encoders, params, embedding, next_obs)
    return LossOut({"decoder": loss * known / jnp.where(share > 0, share, 1.0)})


def contrastive_loss(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """InfoNCE over the agents of each step (eq. 4)."""
    embedding, block = _embedding(setup, params, ctx), ctx.batch
    return contrastive.contrastive_loss(
        setup.encoders, params, embedding, block.obs, block.mask
    )
