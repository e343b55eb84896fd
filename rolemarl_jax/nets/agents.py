"""Networks that every agent carries: one copy of the weights, shared by all."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.nets.layers import GRU, Linear
from rolemarl_jax.types import Array, Inputs


class Recurrent(nn.Module):
    """Linear, ReLU, GRU, Linear over a sequence: utility network or encoder.

    PyMARL's `modules/agents/rnn_agent.py`; with other widths it is ACORM's
    trajectory encoder.
    """

    hidden: int
    out: int

    @nn.compact
    def __call__(self, x: Array, h0: Array, reset: Array) -> tuple[Array, Array]:
        """Unrolls the network.

        Args:
            x: `[T, B, N, in]`. h0: `[B, N, H]`. reset: `[T, B]` bool.

        Returns:
            Outputs `[T, B, N, out]` and hidden states `[T, B, N, H]`.
        """
        x = nn.relu(Linear(self.hidden)(x))
        h = GRU(self.hidden)(x, h0, reset)
        return Linear(self.out)(h), h


def features(x: Inputs, n_actions: int, last_action: bool, agent_id: bool) -> Array:
    """Input rows of an agent network.

    Returns:
        Observation, one-hot of the last action (zeros at an episode's first step)
        and one-hot of the agent's index, `[T, B, N, O (+ A) (+ N)]`.
    """
    parts = [x.obs]
    if last_action:
        parts.append(jax.nn.one_hot(x.last_action, n_actions))
    if agent_id:
        n = x.obs.shape[-2]
        parts.append(jnp.broadcast_to(jnp.eye(n), (*x.obs.shape[:-1], n)))
    return jnp.concatenate(parts, axis=-1)
