"""No roles: recurrent actor and critic of MAPPO and IPPO.

Linear, ReLU, GRU, Linear each (Yu et al. 2022, arXiv:2103.01955; sizes and inputs of
the ACORM authors' baseline, `algorithm/mappo.py` and `util/net.py`).
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, Finite, Size, config
from rolemarl_jax.nets.agents import Recurrent, blank_inputs, features
from rolemarl_jax.nets.initial import orthogonal
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, PolicyMethod
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key


@config
class Config:
    """Actor and critic (key ``algo.role``).

    Attributes:
        name: of the method, ``recurrent_policy``.
        hidden: units of each GRU.
        last_action: whether both networks read it besides the observation.
        agent_id: whether both networks read it besides the observation.
        critic_obs: whether the critic reads the agent's observation.
        critic_state: whether the critic reads the global state; MAPPO's reads both,
            IPPO's the observation.
        orthogonal: orthogonal weights and zero biases instead of PyTorch's default.
        logits_gain: factor on the last layer of such an actor.
    """

    name: str
    hidden: Size
    last_action: bool
    agent_id: bool
    critic_obs: bool
    critic_state: bool
    orthogonal: bool
    logits_gain: Finite


READ_WHEN = (
    ReadWhen(("logits_gain",), lambda c: c.orthogonal, "algo.role.orthogonal=true"),
)


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    actor: Recurrent
    critic: Recurrent


def make(cfg: Config, spec: EnvSpec) -> PolicyMethod:
    """The method record of role-blind actors and critics, shared by all agents.

    Raises:
        ConfigError: a critic that reads nothing.
    """
    if not (cfg.critic_obs or cfg.critic_state):
        raise ConfigError(
            "algo.role.critic_obs: got false together with algo.role.critic_state="
            "false; allowed: at least one true"
        )
    actor, critic = Recurrent(cfg.hidden, spec.n_actions), Recurrent(cfg.hidden, 1)
    setup = Setup(cfg, spec, actor, critic)
    return PolicyMethod(
        init=partial(_init, setup),
        carry=partial(_carry, setup),
        encode=lambda *_: ({}, {}),
        logits=partial(logits, setup),
        value=partial(value, setup),
        actor_groups=("actor",),
        critic_groups=("critic",),
    )


def _read(setup: Setup, x: Inputs) -> Array:
    """Input of the actor, `[T, B, N, in]`."""
    cfg, n = setup.cfg, setup.spec.n_actions
    return features(x, n, last_action=cfg.last_action, agent_id=cfg.agent_id)


def _read_with_state(setup: Setup, x: Inputs, state: Array) -> Array:
    """Input of the critic, `[T, B, N, in]`; ``state`` is `[T, B, S]`."""
    inputs = _read(setup, x)
    if not setup.cfg.critic_obs:
        inputs = inputs[..., setup.spec.obs_dim :]
    if not setup.cfg.critic_state:
        return inputs
    shape = (*inputs.shape[:-1], state.shape[-1])
    team = jnp.broadcast_to(state[..., None, :], shape)
    return jnp.concatenate([team, inputs], axis=-1)


def _carry(setup: Setup, rows: int) -> Carry:
    zeros = jnp.zeros((rows, setup.spec.n_agents, setup.cfg.hidden))
    return {"actor": zeros, "critic": zeros}


def _init(setup: Setup, key: Key) -> Params:
    x, h0 = blank_inputs(1, setup.spec), _carry(setup, 1)["actor"]
    inputs = _read_with_state(setup, x, jnp.zeros((1, 1, setup.spec.state_dim)))
    params = {
        "actor": setup.actor.init(named(key, "actor"), _read(setup, x), h0, x.reset),
        "critic": setup.critic.init(named(key, "critic"), inputs, h0, x.reset),
    }
    if not setup.cfg.orthogonal:
        return params
    params = orthogonal(params, named(key, "orthogonal"), 1.0)
    last = params["actor"]["params"]["Linear_1"]
    last["kernel"] = setup.cfg.logits_gain * last["kernel"]
    return params


def logits(
    setup: Setup, params: Params, x: Inputs, feats: Feats, carry: Carry
) -> tuple[Array, Hidden]:
    """Logits `[T, B, N, A]` of the actor."""
    del feats
    inputs = _read(setup, x)
    out, hidden = setup.actor.apply(params["actor"], inputs, carry["actor"], x.reset)
    return out, {"actor": hidden}


def value(
    setup: Setup, params: Params, x: Inputs, state: Array, feats: Feats, carry: Carry
) -> tuple[Array, Hidden]:
    """Values `[T, B, N]` of the critic."""
    del feats
    inputs = _read_with_state(setup, x, state)
    out, hidden = setup.critic.apply(params["critic"], inputs, carry["critic"], x.reset)
    return out[..., 0], {"critic": hidden}
