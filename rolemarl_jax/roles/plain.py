"""No roles: the utility network of IQL, VDN and QMIX.

Linear, ReLU, GRU, Linear over observation, last action and agent id (PyMARL's
`modules/agents/rnn_agent.py` and `controllers/basic_controller.py`). Without the GRU
it is a multi-layer perceptron, and every agent may have weights of its own.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from rolemarl_jax.config import Size, config
from rolemarl_jax.nets.agents import Recurrent, blank_inputs, features, unshared
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, RoleMethod
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class Config:
    """Utility network (key ``algo.role``).

    Attributes:
        name: of the method, ``plain``.
        hidden: units of the first layer and of the GRU.
        recurrent: whether there is a GRU.
        layers: widths of ReLU layers before the outputs.
        normed: LayerNorm after the first layer.
        shared: one set of weights for all agents, or one for each.
        last_action: whether it is an input.
        agent_id: whether it is an input.
    """

    name: str
    hidden: Size
    recurrent: bool
    layers: tuple[Size, ...]
    normed: bool
    shared: bool
    last_action: bool
    agent_id: bool


class Setup(NamedTuple):
    """What the functions of the method share; ``utility`` is a network."""

    cfg: Config
    spec: EnvSpec
    utility: Any


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of a role-blind policy."""
    setup = Setup(cfg, spec, _network(cfg, spec))
    return RoleMethod(
        init=partial(_init, setup),
        target_groups=("agent",),
        carry=partial(_carry, setup),
        encode=lambda *_: ({}, {}),
        q_values=partial(q_values, setup),
        target_feats=None,
        td_lr={"agent": "lr"},
    )


def _network(cfg: Config, spec: EnvSpec) -> Any:
    if cfg.recurrent:
        make_gru = Recurrent if cfg.shared else unshared(Recurrent, (2, 1, None))
        return make_gru(cfg.hidden, spec.n_actions, cfg.layers, cfg.normed)
    make_mlp = MLP if cfg.shared else unshared(MLP, (2,))
    return make_mlp((cfg.hidden, *cfg.layers, spec.n_actions), cfg.normed)


def _carry(setup: Setup, rows: int) -> Carry:
    if not setup.cfg.recurrent:
        return {}
    return {"agent": jnp.zeros((rows, setup.spec.n_agents, setup.cfg.hidden))}


def _init(setup: Setup, key: Key) -> Params:
    x = blank_inputs(1, setup.spec)
    if not setup.cfg.recurrent:
        return {"agent": setup.utility.init(key, _read(setup, x))}
    h0 = _carry(setup, 1)["agent"]
    return {"agent": setup.utility.init(key, _read(setup, x), h0, x.reset)}


def _read(setup: Setup, x: Inputs) -> Array:
    cfg, n = setup.cfg, setup.spec.n_actions
    return features(x, n, last_action=cfg.last_action, agent_id=cfg.agent_id)


def q_values(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[AgentOut, Hidden]:
    """Action values `[T, B, N, A]`, with hidden states where there is a GRU."""
    inputs = _read(setup, x)
    if not setup.cfg.recurrent:
        return AgentOut(setup.utility.apply(params["agent"], inputs), feats), {}
    q, hidden = setup.utility.apply(params["agent"], inputs, carry["agent"], x.reset)
    return AgentOut(q, feats), {"agent": hidden}
