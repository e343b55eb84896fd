"""Methods whose roles are given and not learned: QMIX's network, told a role.

What sets a learned role apart has to be more than what these roles do.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from rolemarl_jax.config import Size, config
from rolemarl_jax.nets.agents import Recurrent, blank_inputs, features
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Carry, EncodeFn, Feats, Hidden, RoleMethod
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Inputs, Key


@config
class GivenConfig:
    """A utility network that is told a role (key ``algo.role``).

    Attributes:
        name: of the method.
        hidden: units of the first layer and of the GRU.
        normed: LayerNorm after the first layer.
        agent_id: whether the network reads the agent's index besides observation, last
            action and role.
    """

    name: str
    hidden: Size
    normed: bool
    agent_id: bool


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: GivenConfig
    spec: EnvSpec
    width: int
    utility: Recurrent
    remembered: Mapping[str, Any]  # shapes and types of what `encode` carries, by agent


def make_given(
    cfg: GivenConfig,
    spec: EnvSpec,
    width: int,
    encode: EncodeFn,
    remembered: Mapping[str, Any] | None = None,
    **more: Any,
) -> RoleMethod:
    """The method record.

    Args:
        cfg: of the network. spec: of the world.
        width: Z, features of a role.
        encode: roles of a sequence, by no parameters.
        remembered: shape and type, by name, of what ``encode`` carries for each agent.
        more: other fields of the record.
    """
    utility = Recurrent(cfg.hidden, spec.n_actions, normed=cfg.normed)
    setup = Setup(cfg, spec, width, utility, remembered or {})
    return RoleMethod(
        init=partial(_init, setup),
        target_groups=("agent",),
        carry=partial(_carry, setup),
        encode=encode,
        q_values=partial(q_values, setup),
        target_feats=lambda _params, _x, feats, _key: feats,
        td_lr={"agent": "lr"},
        **more,
    )


def _carry(setup: Setup, rows: int) -> Carry:
    n = setup.spec.n_agents
    own = {
        name: jnp.zeros((rows, n, *form.shape), form.dtype)
        for name, form in setup.remembered.items()
    }
    return {"agent": jnp.zeros((rows, n, setup.cfg.hidden)), **own}


def _read(setup: Setup, x: Inputs, role: Array) -> Array:
    inputs = features(
        x, setup.spec.n_actions, last_action=True, agent_id=setup.cfg.agent_id
    )
    return jnp.concatenate([inputs, role], axis=-1)


def _init(setup: Setup, key: Key) -> Params:
    x, h0 = blank_inputs(1, setup.spec), _carry(setup, 1)["agent"]
    role = jnp.zeros((1, 1, setup.spec.n_agents, setup.width))
    inputs = _read(setup, x, role)
    return {"agent": setup.utility.init(named(key, "agent"), inputs, h0, x.reset)}


def q_values(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[AgentOut, Hidden]:
    """Action values `[T, B, N, A]` of a GRU that reads what it sees and its role."""
    inputs = _read(setup, x, feats["role"])
    q, hidden = setup.utility.apply(params["agent"], inputs, carry["agent"], x.reset)
    return AgentOut(q, feats), {"agent": hidden}
