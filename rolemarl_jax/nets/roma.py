"""ROMA's networks: a utility network whose last layer a role makes."""

import flax.linen as nn
import jax.numpy as jnp

from rolemarl_jax.nets.layers import (
    GRU,
    Linear,
    Module,
    Standardise,
    project,
    uniform_fan,
)
from rolemarl_jax.types import Array


class Trunk(Module):
    """The utility network up to its last layer: Linear, ReLU, GRU.

    Attributes:
        hidden: units of both.
        normed: LayerNorm before the ReLU.
    """

    hidden: int
    normed: bool = False

    @nn.compact
    def __call__(self, x: Array, h0: Array, reset: Array) -> Array:
        """Maps `[T, B, N, in]` to hidden states `[T, B, N, H]`."""
        x = Linear(self.hidden)(x)
        x = Standardise((-1,), name="norm")(x) if self.normed else x
        return GRU(self.hidden)(nn.relu(x), h0, reset)


class NormHead(Module):
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
