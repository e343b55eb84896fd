"""ROMA: roles that emerge from observations (Wang et al., ICML 2020).

A role is drawn from a normal distribution that depends on what an agent sees now; a
hypernetwork turns it into the last layer of the agent's utility network. One loss asks
that roles can be told from trajectories, another that the roles of two agents are
alike or their trajectories are not (eq. 3 and 6, in the form of the authors'
`modules/agents/latent_ce_dis_rnn_agent.py`).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.config import config
from rolemarl_jax.nets.agents import features
from rolemarl_jax.nets.layers import (
    GRU,
    Linear,
    Module,
    Standardise,
    project,
    uniform_fan,
)
from rolemarl_jax.ops import info
from rolemarl_jax.ops.info import Gaussian
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import (
    Carry,
    Context,
    Losses,
    Params,
    RoleMethod,
    blank_inputs,
)
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class Config:
    """ROMA's role parts (key ``algo.role``).

    Attributes:
        hidden: units of the utility GRU. role: Z, features of a role.
        encoder_hidden: units of encoders, decoder and dissimilarity model.
        norm: ``layer`` or, as in the authors' code, ``batch_train``: statistics of
            rows and agents together, also when acting.
        var_floor: least variance of a role.
        mean_at_test: greedy policies use the mean role, not a sample.
        kl_only: identifiability is eq. 3, without entropy and softplus.
        entropy_weight, kl_weight: of the terms of identifiability. bound: on their
            sum, before the softplus.
        mi_from_infer: roles of others are judged by the trajectory encoder (paper),
            not by the role encoder (code).
        soft_weight: of the second term of specialisation. enough: U of the paper.
    """

    name: str
    hidden: int
    role: int
    encoder_hidden: int
    norm: Literal["layer", "batch_train"]
    var_floor: float
    mean_at_test: bool
    kl_only: bool
    entropy_weight: float
    kl_weight: float
    bound: float
    mi_from_infer: bool
    soft_weight: float
    enough: float


class Trunk(Module):
    """The utility network up to its last layer: Linear, ReLU, GRU."""

    hidden: int

    @nn.compact
    def __call__(self, x: Array, h0: Array, reset: Array) -> Array:
        """Maps `[T, B, N, in]` to hidden states `[T, B, N, H]`."""
        return GRU(self.hidden)(nn.relu(Linear(self.hidden)(x)), h0, reset)


class Head(Module):
    """Linear, normalisation, LeakyReLU, Linear."""

    hidden: int
    out: int
    axes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[T, B, N, ..., in]` to `[T, B, N, ..., out]`."""
        x = _hidden(x, self.hidden, self.axes)
        return Linear(self.out)(x)


class Decoder(Module):
    """Hypernetwork: the role makes weights and bias of the utility's last layer.

    ``Q = h W(rho) + b(rho)`` with W and b linear in a hidden layer g(rho). The sum
    over h comes first, so that no W is ever made: ``Q_a = sum_k g_k (h U_k)_a + ...``.
    """

    hidden: int
    n_actions: int
    axes: tuple[int, ...]

    @nn.compact
    def __call__(self, h: Array, role: Array) -> Array:
        """Action values `[..., A]` of hidden states `[..., H]` and roles `[..., Z]`."""
        g = _hidden(role, self.hidden, self.axes)
        init, size = uniform_fan(self.hidden), h.shape[-1] * self.n_actions
        kernel = self.param("kernel", init, (self.hidden, size))
        bias = self.param("bias", init, (size,))
        maps = jnp.concatenate([kernel, bias[None]])
        maps = maps.reshape((self.hidden + 1, h.shape[-1], self.n_actions))
        parts = project(h, maps.swapaxes(0, 1).reshape((h.shape[-1], -1)))
        parts = parts.reshape((*h.shape[:-1], self.hidden + 1, self.n_actions))
        mixed = jnp.einsum("...k,...ka->...a", g, parts[..., :-1, :])
        return mixed + parts[..., -1, :] + Linear(self.n_actions)(g)


def _hidden(x: Array, width: int, axes: tuple[int, ...]) -> Array:
    return nn.leaky_relu(Standardise(axes)(Linear(width)(x)))


class Nets(NamedTuple):
    """ROMA's networks, by parameter group."""

    agent: Trunk
    role: Head
    decoder: Decoder
    trajectory: Head
    dissimilarity: Head


def make_nets(cfg: Config, spec: EnvSpec) -> Nets:
    """Networks of one configuration."""
    axes = {"layer": (-1,), "batch_train": (1, 2)}[cfg.norm]
    return Nets(
        agent=Trunk(cfg.hidden),
        role=Head(cfg.encoder_hidden, 2 * cfg.role, axes),
        decoder=Decoder(cfg.encoder_hidden, spec.n_actions, axes),
        trajectory=Head(cfg.encoder_hidden, 2 * cfg.role, axes),
        dissimilarity=Head(cfg.encoder_hidden, 1, axes),
    )


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of ROMA."""
    nets = make_nets(cfg, spec)

    def carry(rows: int) -> Carry:
        return {"agent": jnp.zeros((rows, spec.n_agents, cfg.hidden))}

    def init(key: Key) -> Params:
        x, h0 = blank_inputs(1, spec.n_agents, spec.obs_dim), carry(1)["agent"]
        seen, h = _read(x, spec), h0[None]
        role = jnp.zeros((1, 1, spec.n_agents, cfg.role))
        inputs = {
            "agent": (seen, h0, x.reset),
            "role": (seen,),
            "decoder": (h, role),
            "trajectory": (jnp.concatenate([h, seen], axis=-1),),
            "dissimilarity": (jnp.concatenate([role, role], axis=-1),),
        }
        return {
            group: net.init(named(key, group), *inputs[group])
            for group, net in nets._asdict().items()
        }

    def encode(
        params: Params, x: Inputs, carry: Carry, key: Key | None
    ) -> tuple[dict[str, Array], Carry]:
        del carry
        p = _gaussian(nets.role.apply(params["role"], _read(x, spec)), cfg.var_floor)
        if key is None and not cfg.mean_at_test:
            key = _key_of(x.obs)
        role = p.mean if key is None else info.sample(p, key)
        return {"role": role, "role_mean": p.mean, "role_var": p.var}, {}

    def q_values(
        params: Params, x: Inputs, feats: dict[str, Array], carry: Carry
    ) -> tuple[AgentOut, Carry]:
        h = nets.agent.apply(params["agent"], _read(x, spec), carry["agent"], x.reset)
        q = nets.decoder.apply(params["decoder"], h, feats["role"])
        return AgentOut(q, {**feats, "hidden": h}), {"agent": h[-1]}

    def extra_losses(params: Params, ctx: Context, out: AgentOut) -> Losses:
        x, feats = jax.tree.map(lambda v: v[:-1], (ctx.batch.inputs, out.feats))
        vague, apart = regularisers(cfg, spec, params, x, feats)
        told = vague if cfg.kl_only else info.soften(vague, cfg.bound)
        return {"identifiability": told, "specialisation": apart}

    return RoleMethod(
        init=init,
        target_groups=("agent", "role", "decoder"),
        carry=carry,
        encode=encode,
        q_values=q_values,
        target_feats=lambda params, x, _, key: encode(params, x, {}, key)[0],
        exact=("role", "trajectory", "dissimilarity"),
        td_lr=dict.fromkeys(Nets._fields, "lr"),
        extra_losses=extra_losses,
    )


def regularisers(
    cfg: Config, spec: EnvSpec, params: Params, x: Inputs, feats: Mapping[str, Array]
) -> tuple[Array, Array]:
    """ROMA's two losses at every step, the first before its softplus.

    The trajectory encoder reads the utility GRU's last state, without training it.

    Args:
        x: inputs over T steps. feats: of the same steps, from ``encode`` and
            ``q_values``.

    Returns:
        Identifiability and specialisation, `[T, B]` each.
    """
    nets = make_nets(cfg, spec)
    p = Gaussian(feats["role_mean"], feats["role_var"])
    seen = jnp.concatenate([_before(feats["hidden"], x.reset), _read(x, spec)], axis=-1)
    told = nets.trajectory.apply(params["trajectory"], seen)
    q = _gaussian(told, cfg.var_floor)
    vague = info.identifiability(
        p, q, 0.0 if cfg.kl_only else cfg.entropy_weight, cfg.kl_weight
    )
    role = feats["role"]
    others = info.shifted(role)
    mine = jnp.broadcast_to(role[..., None, :], others.shape)
    pairs = jnp.concatenate([mine, others], axis=-1)
    distance = jnp.abs(nets.dissimilarity.apply(params["dissimilarity"], pairs))
    judge = q if cfg.mi_from_infer else p
    apart = info.specialisation(
        judge, others, distance[..., 0], cfg.soft_weight, cfg.enough
    )
    return vague, apart


def _before(h: Array, reset: Array) -> Array:
    """State of the GRU before each step, `[T, B, N, H]`, without gradient."""
    last = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])
    return jax.lax.stop_gradient(jnp.where(reset[..., None, None], 0.0, last))


def _read(x: Inputs, spec: EnvSpec) -> Array:
    return features(x, spec.n_actions, last_action=True, agent_id=True)


def _gaussian(x: Array, floor: float) -> Gaussian:
    mean, log_var = jnp.split(x, 2, axis=-1)
    return Gaussian(mean, jnp.maximum(jnp.exp(log_var), floor))


def _key_of(obs: Array) -> Key:
    """A key that changes from step to step for a policy that is given none."""
    seen = jax.lax.bitcast_convert_type(obs.sum(), jnp.uint32)
    return jax.random.fold_in(jax.random.key(0), seen)
