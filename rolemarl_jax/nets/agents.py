"""Networks that every agent carries, with weights that all share or of its own."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.nets.layers import GRU, Linear, Module, Standardise, project
from rolemarl_jax.types import Array, EnvSpec, Inputs, PyTree


class Recurrent(Module):
    """Linear, ReLU, GRU, Linear over a sequence: utility network or encoder.

    PyMARL's `modules/agents/rnn_agent.py`; with other widths it is ACORM's
    trajectory encoder.

    Attributes:
        hidden: units of the first layer and of the GRU.
        out: outputs.
        layers: widths of ReLU layers between the GRU and the outputs.
        normed: LayerNorm before the first ReLU.
    """

    hidden: int
    out: int
    layers: tuple[int, ...] = ()
    normed: bool = False

    @nn.compact
    def __call__(self, x: Array, h0: Array, reset: Array) -> tuple[Array, Array]:
        """Unrolls the network.

        Args:
            x: `[T, B, N, in]`. h0: `[B, N, H]`. reset: `[T, B]` bool.

        Returns:
            Outputs `[T, B, N, out]` and hidden states `[T, B, N, H]`.
        """
        x = Linear(self.hidden)(x)
        x = nn.relu(Standardise((-1,), name="norm")(x) if self.normed else x)
        h = GRU(self.hidden)(x, h0, reset)
        y = h
        for width in self.layers:
            y = nn.relu(Linear(width)(y))
        return Linear(self.out)(y), h


def unshared(module: type[nn.Module], in_axes: Any) -> type[nn.Module]:
    """A module with weights for each agent, mapped over the agents' axis.

    Args:
        in_axes: where the agents are in each argument, ``None`` for none. In outputs
            they are the third axis, `[T, B, N, ...]`.
    """
    return nn.vmap(
        module,
        in_axes=in_axes,
        out_axes=2,
        variable_axes={"params": 0},
        split_rngs={"params": True},
    )


def crossed(
    net: Recurrent, params: PyTree, x: Array, z: Array, h0: Array, reset: Array
) -> Array:
    """Unrolls the network for each pair of an agent's inputs and a role.

    The first layer is applied to agents and roles apart, so that the pairs' inputs
    are never laid out.

    Args:
        params: of ``net`` over inputs with the role last. x: `[T, B, N, in]`, inputs
            without it. z: `[T, B, N, Z]`. h0: `[B, N, H]`, the agents' states.
            reset: `[T, B]` bool.

    Returns:
        `[T, B, N, N, out]`: agent i with the role of agent j.
    """
    own = params["params"]
    first, width = own["Linear_0"], x.shape[-1]
    seen = project(x, first["kernel"][:width]) + first["bias"]
    roles = project(z, first["kernel"][width:])
    hidden = seen[..., :, None, :] + roles[..., None, :, :]
    if net.normed:
        hidden = Standardise((-1,)).apply({"params": own["norm"]}, hidden)
    hidden = nn.relu(hidden)
    h0 = jnp.broadcast_to(h0[..., None, :], (*hidden.shape[1:-1], net.hidden))
    h = GRU(net.hidden).apply({"params": own["GRU_0"]}, hidden, h0, reset)
    return Linear(net.out).apply({"params": own["Linear_1"]}, h)


def features(x: Inputs, n_actions: int, *, last_action: bool, agent_id: bool) -> Array:
    """Input rows of an agent network.

    Args:
        n_actions: A.
        last_action: whether the last action is part of them.
        agent_id: whether the agent's index is.

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


def blank_inputs(rows: int, spec: EnvSpec) -> Inputs:
    """One time step of zeros, to initialise networks with."""
    return Inputs(
        obs=jnp.zeros((1, rows, spec.n_agents, spec.obs_dim)),
        last_action=jnp.full((1, rows, spec.n_agents), -1),
        reset=jnp.zeros((1, rows), bool),
    )
