"""Soft roles: a role method of one's own. Copy this folder, and change it.

A network sorts what an agent observes into a few roles, the utility network reads the
role, and a loss asks for roles that are decided.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Size, config
from rolemarl_jax.nets.agents import Recurrent, blank_inputs, features
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, RoleMethod
from rolemarl_jax.roles.parts.phase import Context, Losses, Params
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class Config:
    """Soft roles (key ``algo.role``, ``conf/algo/soft_roles.yaml``).

    Attributes:
        name: path of this module.
        hidden: units of the role network's layer and of the utility network's GRU.
        roles: Z, how many roles there are.
    """

    name: str
    hidden: Size
    roles: Size


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    sorter: MLP
    utility: Recurrent


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record. Its annotation says which learners it is for."""
    sorter = MLP((cfg.hidden, cfg.roles))
    setup = Setup(cfg, spec, sorter, Recurrent(cfg.hidden, spec.n_actions))
    return RoleMethod(
        init=partial(init, setup),
        carry=partial(carry, setup),
        encode=partial(encode, setup),
        q_values=partial(q_values, setup),
        target_groups=("agent", "role"),
        target_feats=partial(target_feats, setup),
        td_lr={"agent": "lr", "role": "lr"},
        extra_losses=extra_losses,
    )


def init(setup: Setup, key: Key) -> Params:
    """Parameters by group."""
    x, h0 = blank_inputs(1, setup.spec), carry(setup, 1)["agent"]
    role = setup.sorter.init(named(key, "role"), x.obs)
    inputs = _read(setup, x, setup.sorter.apply(role, x.obs))
    agent = setup.utility.init(named(key, "agent"), inputs, h0, x.reset)
    return {"agent": agent, "role": role}


def carry(setup: Setup, rows: int) -> Carry:
    """Recurrent state of B rows at the beginning of an episode."""
    return {"agent": jnp.zeros((rows, setup.spec.n_agents, setup.cfg.hidden))}


def encode(
    setup: Setup, params: Params, x: Inputs, carry: Carry, key: Key | None
) -> tuple[Feats, Hidden]:
    """The share of each role in what an agent observes, `[T, B, N, Z]`."""
    del carry, key
    return {"role": jax.nn.softmax(setup.sorter.apply(params["role"], x.obs))}, {}


def target_feats(
    setup: Setup, target: Params, x: Inputs, feats: Feats, key: Key | None
) -> Feats:
    """Roles as the target copies of the role network have them."""
    del feats
    return encode(setup, target, x, {}, key)[0]


def q_values(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[AgentOut, Hidden]:
    """Action values `[T, B, N, A]`."""
    inputs = _read(setup, x, feats["role"])
    q, hidden = setup.utility.apply(params["agent"], inputs, carry["agent"], x.reset)
    return AgentOut(q, feats), {"agent": hidden}


def extra_losses(params: Params, ctx: Context, out: AgentOut) -> Losses:
    """Entropy of the roles in nats, mean over agents, of every step `[T, B]`."""
    del params, ctx
    role = out.feats["role"][:-1]  # the last observation has no transition
    return {"undecided": -(role * jnp.log(role + 1e-8)).sum(-1).mean(-1)}


def _read(setup: Setup, x: Inputs, role: Array) -> Array:
    """Observation, last action, index and role, `[T, B, N, in]`."""
    inputs = features(x, setup.spec.n_actions, last_action=True, agent_id=True)
    return jnp.concatenate([inputs, role], axis=-1)
