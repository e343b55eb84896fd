"""ROMA: roles that emerge from observations (Wang et al., ICML 2020).

A role is drawn from a normal distribution that depends on what an agent sees now; a
hypernetwork turns it into the last layer of the agent's utility network. One loss asks
that roles can be told from trajectories, another that the roles of two agents are
alike or their trajectories are not (eq. 3 and 6, in the form of the authors'
`modules/agents/latent_ce_dis_rnn_agent.py`).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Above0, Finite, NonNegative, Size, config
from rolemarl_jax.nets.agents import blank_inputs, features
from rolemarl_jax.nets.roma import Decoder, NormHead, Trunk
from rolemarl_jax.ops import info
from rolemarl_jax.ops.info import Gaussian
from rolemarl_jax.ops.role_stats import mean_where
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, RoleMethod
from rolemarl_jax.roles.parts.phase import Context, Losses, Metrics, Params
from rolemarl_jax.roles.parts.view import RoleView
from rolemarl_jax.trees import choose
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class Config:
    """ROMA's role parts (key ``algo.role``).

    Attributes:
        name: of the method, ``roma``.
        hidden: units of the utility GRU.
        normed: LayerNorm after the utility network's first layer.
        role: Z, features of a role.
        encoder_hidden: units of encoders, decoder and dissimilarity model.
        norm: ``layer`` or, as in the authors' code, ``batch_train``: statistics of
            rows and agents together, also when acting.
        var_floor: least variance of a role.
        mean_at_test: greedy policies use the mean role, not a sample.
        kl_only: identifiability is eq. 3, without entropy and softplus.
        entropy_weight: of the entropy in identifiability.
        kl_weight: of the divergence in identifiability.
        bound: on their sum, before the softplus.
        mi_from_infer: roles of others are judged by the trajectory encoder (paper),
            not by the role encoder (code).
        soft_weight: of the second term of specialisation.
        enough: U of the paper.
    """

    name: str
    hidden: Size
    normed: bool
    role: Size
    encoder_hidden: Size
    norm: Literal["layer", "batch_train"]
    var_floor: Above0
    mean_at_test: bool
    kl_only: bool
    entropy_weight: NonNegative
    kl_weight: NonNegative
    bound: NonNegative
    mi_from_infer: bool
    soft_weight: NonNegative
    enough: Finite


READ_WHEN = (
    ReadWhen(
        ("entropy_weight", "bound"), lambda c: not c.kl_only, "algo.role.kl_only=false"
    ),
)


class Nets(NamedTuple):
    """ROMA's networks, by parameter group."""

    agent: Trunk
    role: NormHead
    decoder: Decoder
    trajectory: NormHead
    dissimilarity: NormHead


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    nets: Nets


def make_setup(cfg: Config, spec: EnvSpec) -> Setup:
    """Networks of one configuration and world."""
    axes = {"layer": (-1,), "batch_train": (1, 2)}[cfg.norm]
    nets = Nets(
        agent=Trunk(cfg.hidden, cfg.normed),
        role=NormHead(cfg.encoder_hidden, 2 * cfg.role, axes),
        decoder=Decoder(cfg.encoder_hidden, spec.n_actions, axes),
        trajectory=NormHead(cfg.encoder_hidden, 2 * cfg.role, axes),
        dissimilarity=NormHead(cfg.encoder_hidden, 1, axes),
    )
    return Setup(cfg, spec, nets)


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of ROMA."""
    setup = make_setup(cfg, spec)
    return RoleMethod(
        init=partial(_init, setup),
        target_groups=("agent", "role", "decoder"),
        carry=partial(_carry, setup),
        encode=partial(encode, setup),
        q_values=partial(q_values, setup),
        target_feats=lambda params, x, _, key: encode(setup, params, x, {}, key)[0],
        exact=("role", "trajectory", "dissimilarity"),
        td_lr=dict.fromkeys(Nets._fields, "lr"),
        extra_losses=partial(extra_losses, setup),
        role_metrics=partial(role_metrics, setup),
    )


def _carry(setup: Setup, rows: int) -> Carry:
    return {"agent": jnp.zeros((rows, setup.spec.n_agents, setup.cfg.hidden))}


def _init(setup: Setup, key: Key) -> Params:
    x, h0 = blank_inputs(1, setup.spec), _carry(setup, 1)["agent"]
    inputs, h = _read(setup, x), h0[None]
    role = jnp.zeros((1, 1, setup.spec.n_agents, setup.cfg.role))
    arguments = {
        "agent": (inputs, h0, x.reset),
        "role": (inputs,),
        "decoder": (h, role),
        "trajectory": (jnp.concatenate([h, inputs], axis=-1),),
        "dissimilarity": (jnp.concatenate([role, role], axis=-1),),
    }
    return {
        group: net.init(named(key, group), *arguments[group])
        for group, net in setup.nets._asdict().items()
    }


def _read(setup: Setup, x: Inputs) -> Array:
    return features(x, setup.spec.n_actions, last_action=True, agent_id=True)


def encode(
    setup: Setup, params: Params, x: Inputs, carry: Carry, key: Key | None
) -> tuple[Feats, Hidden]:
    """Roles drawn from what is seen now, with mean and variance, `[T, B, N, Z]`."""
    del carry
    out = setup.nets.role.apply(params["role"], _read(setup, x))
    p = _gaussian(out, setup.cfg.var_floor)
    if key is None and not setup.cfg.mean_at_test:
        key = _key_of(x.obs)
    role = p.mean if key is None else info.sample(p, key)
    return {"role": role, "role_mean": p.mean, "role_var": p.var}, {}


def q_values(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[AgentOut, Hidden]:
    """Action values `[T, B, N, A]` of a head that the role makes."""
    nets, inputs = setup.nets, _read(setup, x)
    h = nets.agent.apply(params["agent"], inputs, carry["agent"], x.reset)
    q = nets.decoder.apply(params["decoder"], h, feats["role"])
    past = _before(h, carry["agent"], x.reset)
    return AgentOut(q, {**feats, "hidden": h, "past": past}), {"agent": h}


def extra_losses(setup: Setup, params: Params, ctx: Context, out: AgentOut) -> Losses:
    """Identifiability and specialisation of the transitions, `[T, B]` each."""
    x, feats = jax.tree.map(lambda v: v[:-1], (ctx.batch.inputs, out.feats))
    vague, apart = regularisers(setup, params, x, feats)
    if not setup.cfg.kl_only:
        vague = info.soften(vague, setup.cfg.bound)
    return {"identifiability": vague, "specialisation": apart}


def regularisers(
    setup: Setup, params: Params, x: Inputs, feats: Feats
) -> tuple[Array, Array]:
    """ROMA's two losses at every step, the first before its softplus.

    The trajectory encoder reads the utility GRU's last state, without training it.

    Args:
        x: inputs over T steps. feats: of the same steps, from ``encode`` and
            ``q_values``.

    Returns:
        Identifiability and specialisation, `[T, B]` each.
    """
    cfg, nets = setup.cfg, setup.nets
    p = Gaussian(feats["role_mean"], feats["role_var"])
    inputs = jnp.concatenate([feats["past"], _read(setup, x)], axis=-1)
    q = _gaussian(nets.trajectory.apply(params["trajectory"], inputs), cfg.var_floor)
    vague = info.identifiability(
        p, q, 0.0 if cfg.kl_only else cfg.entropy_weight, cfg.kl_weight
    )
    others = info.shifted(feats["role"])
    distance = _dissimilarity(setup, params, feats["role"], others)
    judge = q if cfg.mi_from_infer else p
    apart = info.specialisation(judge, others, distance, cfg.soft_weight, cfg.enough)
    return vague, apart


def _dissimilarity(setup: Setup, params: Params, role: Array, others: Array) -> Array:
    """Of `[..., N, Z]` and others `[..., N, N, Z]`, not negative, `[..., N, N]`."""
    mine = jnp.broadcast_to(role[..., None, :], others.shape)
    pairs = jnp.concatenate([mine, others], axis=-1)
    net = setup.nets.dissimilarity
    return jnp.abs(net.apply(params["dissimilarity"], pairs))[..., 0]


def role_metrics(setup: Setup, params: Params, view: RoleView) -> Metrics:
    """Mean dissimilarity of two living agents of one type, and of two types.

    As the model gives it, before the loss scales it over a team's pairs.
    """
    distance = _dissimilarity(setup, params, view.role, info.shifted(view.role))
    both = info.shifted(view.there[..., None])[..., 0] & view.there[..., None]
    both = both.at[..., -1].set(False)  # with themselves
    alike = info.shifted(view.kind[..., None])[..., 0] == view.kind[..., None]
    return {
        "dissimilarity_within": mean_where(distance, both & alike),
        "dissimilarity_between": mean_where(distance, both & ~alike),
    }


def _before(h: Array, h0: Array, reset: Array) -> Array:
    """State of the GRU before each step, `[T, B, N, H]`, without gradient."""
    last = jnp.concatenate([h0[None].astype(h.dtype), h[:-1]])
    return jax.lax.stop_gradient(choose(reset, jnp.zeros_like(last), last))


def _gaussian(x: Array, floor: float) -> Gaussian:
    mean, log_var = jnp.split(x, 2, axis=-1)
    return Gaussian(mean, jnp.maximum(jnp.exp(log_var), floor))


def _key_of(obs: Array) -> Key:
    """A key that changes from step to step for a policy that is given none."""
    seen = jax.lax.bitcast_convert_type(obs.sum(), jnp.uint32)
    return jax.random.fold_in(jax.random.key(0), seen)
