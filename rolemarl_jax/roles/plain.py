"""No roles: the utility network of IQL, VDN and QMIX.

Linear, ReLU, GRU, Linear over observation, last action and agent id (PyMARL's
`modules/agents/rnn_agent.py` and `controllers/basic_controller.py`). Without the GRU
it is a multi-layer perceptron, and every agent may have weights of its own.
"""

from typing import Any

import jax.numpy as jnp

from rolemarl_jax.config import config
from rolemarl_jax.nets.agents import Recurrent, features, unshared
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.roles.parts.method import Carry, Params, RoleMethod, blank_inputs
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class Config:
    """Utility network (key ``algo.role``).

    Attributes:
        hidden: units of the first layer and of the GRU. recurrent: whether there is a
            GRU. layers: widths of ReLU layers before the outputs.
        shared: one set of weights for all agents, or one for each.
        last_action, agent_id: whether they are inputs.
    """

    name: str
    hidden: int
    recurrent: bool
    layers: tuple[int, ...]
    shared: bool
    last_action: bool
    agent_id: bool


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of a role-blind policy."""
    recurrent = Recurrent if cfg.shared else unshared(Recurrent, (2, 1, None))
    gru: Any = recurrent(cfg.hidden, spec.n_actions, cfg.layers)
    perceptron = MLP if cfg.shared else unshared(MLP, (2,))
    mlp: Any = perceptron((cfg.hidden, *cfg.layers, spec.n_actions))

    def read(x: Inputs) -> Array:
        return features(
            x, spec.n_actions, last_action=cfg.last_action, agent_id=cfg.agent_id
        )

    def carry(rows: int) -> Carry:
        if not cfg.recurrent:
            return {}
        return {"agent": jnp.zeros((rows, spec.n_agents, cfg.hidden))}

    def init(key: Key) -> Params:
        x = blank_inputs(1, spec.n_agents, spec.obs_dim)
        if not cfg.recurrent:
            return {"agent": mlp.init(key, read(x))}
        return {"agent": gru.init(key, read(x), carry(1)["agent"], x.reset)}

    def q_values(
        params: Params, x: Inputs, feats: dict[str, Array], carry: Carry
    ) -> tuple[AgentOut, Carry]:
        if not cfg.recurrent:
            return AgentOut(mlp.apply(params["agent"], read(x)), feats), {}
        q, h = gru.apply(params["agent"], read(x), carry["agent"], x.reset)
        return AgentOut(q, feats), {"agent": h[-1]}

    return RoleMethod(
        init=init,
        target_groups=("agent",),
        carry=carry,
        encode=lambda *_: ({}, {}),
        q_values=q_values,
        target_feats=lambda *_: {},
        td_lr={"agent": "lr"},
    )
