"""No roles: recurrent actor and critic of MAPPO and IPPO.

Linear, ReLU, GRU, Linear each (Yu et al. 2022, arXiv:2103.01955; sizes and inputs of
the ACORM authors' baseline, `algorithm/mappo.py` and `util/net.py`).
"""

import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.nets.agents import Recurrent, features
from rolemarl_jax.nets.initial import orthogonal
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Carry, Params, blank_inputs
from rolemarl_jax.roles.parts.policy_method import Hidden, PolicyMethod
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key


@config
class Config:
    """Actor and critic (key ``algo.role``).

    Attributes:
        hidden: units of each GRU. last_action, agent_id: whether both networks read
            them besides the observation.
        critic_obs, critic_state: whether the critic reads the agent's observation,
            the global state; MAPPO's reads both, IPPO's the former.
        orthogonal: orthogonal weights and zero biases instead of PyTorch's default.
        logits_gain: factor on the last layer of such an actor.
    """

    name: str
    hidden: int
    last_action: bool
    agent_id: bool
    critic_obs: bool
    critic_state: bool
    orthogonal: bool
    logits_gain: float


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

    def read(x: Inputs) -> Array:
        return features(
            x, spec.n_actions, last_action=cfg.last_action, agent_id=cfg.agent_id
        )

    def watch(x: Inputs, state: Array) -> Array:
        seen = read(x) if cfg.critic_obs else read(x)[..., spec.obs_dim :]
        if not cfg.critic_state:
            return seen
        shape = (*seen.shape[:-1], state.shape[-1])
        team = jnp.broadcast_to(state[..., None, :], shape)
        return jnp.concatenate([team, seen], axis=-1)

    def carry(rows: int) -> Carry:
        zeros = jnp.zeros((rows, spec.n_agents, cfg.hidden))
        return {"actor": zeros, "critic": zeros}

    def init(key: Key) -> Params:
        x, h0 = blank_inputs(1, spec.n_agents, spec.obs_dim), carry(1)["actor"]
        seen = watch(x, jnp.zeros((1, 1, spec.state_dim)))
        params = {
            "actor": actor.init(named(key, "actor"), read(x), h0, x.reset),
            "critic": critic.init(named(key, "critic"), seen, h0, x.reset),
        }
        if not cfg.orthogonal:
            return params
        params = orthogonal(params, named(key, "orthogonal"), 1.0)
        last = params["actor"]["params"]["Linear_1"]
        last["kernel"] = cfg.logits_gain * last["kernel"]
        return params

    def logits(
        params: Params, x: Inputs, feats: dict[str, Array], carry: Carry
    ) -> tuple[Array, Hidden]:
        del feats
        out, h = actor.apply(params["actor"], read(x), carry["actor"], x.reset)
        return out, {"actor": h}

    def value(
        params: Params, x: Inputs, state: Array, feats: dict[str, Array], carry: Carry
    ) -> tuple[Array, Hidden]:
        del feats
        seen = watch(x, state)
        out, h = critic.apply(params["critic"], seen, carry["critic"], x.reset)
        return out[..., 0], {"critic": h}

    return PolicyMethod(
        init=init,
        carry=carry,
        encode=lambda *_: ({}, {}),
        logits=logits,
        value=value,
        actor_groups=("actor",),
        critic_groups=("critic",),
    )
