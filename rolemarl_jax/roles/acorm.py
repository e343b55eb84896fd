"""ACORM: attention-guided contrastive role representations (Hu et al., ICLR 2024).

A GRU encodes each agent's trajectory, a role encoder maps the embedding to a role in
(0, 1)^Z, and the role joins the input of the utility network and, through the
attention mixer, of the mixing network. Roles are kept apart by an InfoNCE loss whose
positives are the agents of one K-means cluster (eq. 4), with a momentum key encoder
(eq. 5, in the form of the authors' `algorithm/acorm.py`).
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from rolemarl_jax.config import NonNegative, Size, config
from rolemarl_jax.nets.agents import Recurrent, blank_inputs
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts import contrastive, encoders
from rolemarl_jax.roles.parts.encoders import ContrastiveConfig, Encoders
from rolemarl_jax.roles.parts.method import (
    Carry,
    Feats,
    Hidden,
    RoleMethod,
    begun,
)
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class Config(ContrastiveConfig):
    """ACORM's role parts (key ``algo.role``), besides those that it inherits.

    Attributes:
        name: of the method, ``acorm``.
        hidden: units of the utility GRU.
        normed: LayerNorm after the utility network's first layer.
        role_lr: learning rate of role and trajectory encoder in the TD step.
    """

    name: str
    hidden: Size
    normed: bool
    role_lr: NonNegative


READ_WHEN = encoders.READ_WHEN


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    encoders: Encoders
    utility: Recurrent


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of ACORM; its mixer is chosen by ``algo.mixer``.

    Raises:
        ConfigError: more clusters than agents.
    """
    setup = Setup(
        cfg=cfg,
        spec=spec,
        encoders=encoders.make_encoders(cfg, spec, last_action=True),
        utility=Recurrent(cfg.hidden, spec.n_actions, normed=cfg.normed),
    )
    return RoleMethod(
        init=partial(_init, setup),
        target_groups=("agent",),
        carry=partial(_carry, setup),
        encode=partial(encoders.encode, setup.encoders),
        q_values=partial(q_values, setup),
        target_feats=lambda _params, _x, feats, _key: feats,
        no_gradient=contrastive.without_gradient(cfg),
        exact=("similarity", "decoder"),
        td_lr={"agent": "lr", "role": "role_lr", "embedding": "role_lr"},
        hypers={"role_lr": cfg.role_lr, **contrastive.rates(cfg)},
        phases=contrastive.phases(
            cfg, partial(decoding_loss, setup), partial(contrastive_loss, setup)
        ),
        after_update=contrastive.momentum(cfg),
    )


def _carry(setup: Setup, rows: int) -> Carry:
    shape = (rows, setup.spec.n_agents)
    return {
        "agent": jnp.zeros((*shape, setup.cfg.hidden)),
        "embedding": jnp.zeros((*shape, setup.cfg.embedding)),
    }


def _init(setup: Setup, key: Key) -> Params:
    x, zeros = blank_inputs(1, setup.spec), _carry(setup, 1)
    roles = jnp.zeros((1, 1, setup.spec.n_agents, setup.cfg.role))
    agent = setup.utility.init(
        named(key, "agent"), _read(setup, x, roles), zeros["agent"], x.reset
    )
    return {"agent": agent, **encoders.init_encoders(setup.encoders, key)}


def _read(setup: Setup, x: Inputs, role: Array) -> Array:
    """Input of the utility network: what the encoder reads, and the role."""
    return jnp.concatenate([encoders.read(setup.encoders, x), role], axis=-1)


def q_values(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[AgentOut, Hidden]:
    """Action values of a GRU that reads observation, last action and role."""
    inputs = _read(setup, x, feats["role"])
    q, hidden = setup.utility.apply(params["agent"], inputs, carry["agent"], x.reset)
    return AgentOut(q, feats), {"agent": hidden}


def _embedding(setup: Setup, params: Params, ctx: Context) -> Array:
    """Embeddings of the transitions of a batch, `[T, B, N, E]`."""
    h0 = begun(ctx.batch, partial(_carry, setup))["embedding"]
    return encoders.embed(setup.encoders, params, ctx.batch.inputs, h0)[0][:-1]


def decoding_loss(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """Error of predicting what is seen next from the embedding (pre-training)."""
    embedding, next_obs = _embedding(setup, params, ctx), ctx.batch.obs[1:]
    loss = contrastive.decoder_loss(setup.encoders, params, embedding, next_obs)
    return LossOut({"decoder": loss})


def contrastive_loss(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """InfoNCE over the agents of each transition (eq. 4)."""
    embedding, obs = _embedding(setup, params, ctx), ctx.batch.obs[:-1]
    return contrastive.contrastive_loss(
        setup.encoders, params, embedding, obs, ctx.batch.mask
    )
