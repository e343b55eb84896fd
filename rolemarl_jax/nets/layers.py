"""Building blocks with PyTorch's initialisation, which the source papers used."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.ops import scan
from rolemarl_jax.types import Array, Key

Init = Callable[[Key, Sequence[int], Any], Array]


def uniform_fan(fan_in: int) -> Init:
    """``U(-1/sqrt(fan_in), 1/sqrt(fan_in))``, PyTorch's default for weight and bias."""
    bound = fan_in**-0.5

    def init(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -bound, bound)

    return init


class Module(nn.Module):
    """``nn.Module`` whose ``apply`` has no second, mutable output in its type."""

    if TYPE_CHECKING:

        def apply(self, *args: Any, **kwargs: Any) -> Any:
            """Output of the module's method."""


def project(x: Array, w: Array) -> Array:
    """``x @ w`` for `[..., in]` and `[in, out]`, as one product of two matrices.

    Computed in the precision of ``w``. The gradient of ``w`` would otherwise contract
    several axes, for which XLA lays out a transposed copy of what comes back.
    """
    rows = x.reshape((-1, x.shape[-1])).astype(w.dtype)
    return (rows @ w).reshape((*x.shape[:-1], w.shape[-1]))


class Linear(Module):
    """Affine map `[..., in]` to `[..., features]`.

    Attributes:
        features: outputs.
    """

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Applies the map."""
        init = uniform_fan(x.shape[-1])
        y = project(x, self.param("kernel", init, (x.shape[-1], self.features)))
        return y + self.param("bias", init, (self.features,))


class Heads(Module):
    """The parts of an affine map `[..., in]` to `[..., features]`, one for each head.

    They are products of their own, so that nothing has to be laid out anew before the
    heads go separate ways; on a CPU that takes longer than these products.

    Attributes:
        heads: parts; divides ``features``.
        features: outputs of all heads together.
        use_bias: whether one is added.
    """

    heads: int
    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        """Applies the map; `[..., features // heads]` for each head."""
        init = uniform_fan(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        each = [project(x, w) for w in jnp.split(kernel, self.heads, axis=-1)]
        if not self.use_bias:
            return each
        bias = jnp.split(self.param("bias", init, (self.features,)), self.heads)
        return [y + b for y, b in zip(each, bias, strict=True)]


class MLP(Module):
    """ReLU layers, the last one linear.

    Attributes:
        widths: units of each layer, outputs last.
        normed: LayerNorm before the first ReLU.
    """

    widths: tuple[int, ...]
    normed: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., in]` to `[..., widths[-1]]`."""
        for i, width in enumerate(self.widths[:-1]):
            x = Linear(width)(x)
            if self.normed and i == 0:
                x = Standardise((-1,), name="norm")(x)
            x = nn.relu(x)
        return Linear(self.widths[-1])(x)


class Standardise(Module):
    """Zero mean and unit variance over given axes, then a learned scale and shift.

    Over the last axis it is LayerNorm. Over the axes of a batch it is BatchNorm that
    never leaves its training mode.

    Attributes:
        axes: over which moments are taken.
    """

    axes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., F]` to the same shape."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(self.axes, keepdims=True)
        variance = (centred * centred).mean(self.axes, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + 1e-5) * scale + bias).astype(x.dtype)


class GRU(Module):
    """Gated recurrent unit over a time-major sequence (see ``ops.scan.gru``).

    Attributes:
        hidden: H, units of the state.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: Array, h0: Array, reset: Array) -> Array:
        """Runs the recurrence.

        Args:
            x: `[T, ..., in]`. h0: `[..., H]`. reset: `[T, ...]` bool.

        Returns:
            States after each step, `[T, ..., H]`.
        """
        init, width = uniform_fan(self.hidden), 3 * self.hidden
        w_in = self.param("w_in", init, (x.shape[-1], width))
        b_in = self.param("b_in", init, (width,))
        w = self.param("w", init, (self.hidden, width))
        b = self.param("b", init, (width,))
        projected = project(x, w_in)
        return scan.gru(projected, w, b_in, b, h0.astype(projected.dtype), reset)
