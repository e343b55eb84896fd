"""State-value networks of policy learners."""

import flax.linen as nn
import jax.numpy as jnp

from rolemarl_jax.nets.attention import AttentionContext, StateEncoder
from rolemarl_jax.nets.layers import GRU, Linear, Module, project, uniform_fan
from rolemarl_jax.types import Array


class RoleCritic(Module):
    """ACORM-MAPPO's critic: own observation, and the state attending to roles.

    ``V_i = head([GRU(o_i), q_1..q_N, m_1..m_N])``, where q are the rows of the state
    GRU and m = MHA(q, roles, roles) (ACORM fig. 8 (d), (e); authors'
    `util/acorm_net.py`).

    Attributes:
        n_agents: N.
        hidden: H, units of the observation's GRU, and of the state's an agent.
        heads: of the attention; divides ``attention``.
        attention: width of all heads together.
        out: features of an attention output.
        head: units of the layer before the value.
    """

    n_agents: int
    hidden: int
    heads: int
    attention: int
    out: int
    head: int

    @nn.compact
    def __call__(
        self,
        obs: Array,
        state: Array,
        reset: Array,
        roles: Array,
        own_h0: Array,
        state_h0: Array,
    ) -> tuple[Array, Array, Array]:
        """Values over a sequence.

        Args:
            obs: `[T, B, N, O]`. state: `[T, B, S]`. reset: `[T, B]` bool.
            roles: `[T, B, N, Z]`. own_h0: `[B, N, H]`. state_h0: `[B, N * H]`.

        Returns:
            Values `[T, B, N]`, states of the observation GRU `[T, B, N, H]` and of
            the state GRU `[T, B, N * H]`.
        """
        own = nn.relu(Linear(self.hidden, name="own_in")(obs))
        own = GRU(self.hidden, name="own")(own, own_h0, reset)
        encoder = StateEncoder(self.n_agents, self.hidden, name="state")
        _, query = encoder(state, reset, state_h0)
        attend = AttentionContext(self.heads, self.attention, self.out)
        attended = attend(query, roles)
        history = query.reshape((*query.shape[:-2], -1))
        team = [history, attended.reshape((*attended.shape[:-2], -1))]
        mixed = nn.relu(self._first(own, jnp.concatenate(team, axis=-1)))
        return Linear(1, name="value")(mixed)[..., 0], own, history

    def _first(self, own: Array, team: Array) -> Array:
        """Linear map of ``[own, team]``; the team's part is computed once a team."""
        width = own.shape[-1] + team.shape[-1]
        init = uniform_fan(width)
        kernel = self.param("kernel", init, (width, self.head))
        bias = self.param("bias", init, (self.head,))
        mine, ours = jnp.split(kernel, [own.shape[-1]])
        return project(own, mine) + (project(team, ours) + bias)[..., None, :]
