"""Recurrences over time, laid out so that the matrix products are large.

A GRU inside ``lax.scan`` spends its time in many small products: the input
projection at every step, and in the backward pass one rank-one-like update of
each weight gradient a step. Here the caller projects all inputs in one product
before the scan, and the gradient of the recurrent weights is one product after
the backward scan. Biases are added inside, where memory is read anyway. Without
gradients the scan has a form of its own.
"""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.trees import widened
from rolemarl_jax.types import Array

_Residuals = tuple[Array, ...]


@jax.custom_vjp
def gru(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> Array:
    """Gated recurrent unit over a sequence, in PyTorch's convention.

    ``r, z = sigmoid(x_rz + b_in_rz + h W_rz + b_rz)``, ``n = tanh(x_n + b_in_n + r (h
    W_n + b_n))``, ``h' = (1 - z) n + z h`` (Cho et al. 2014, arXiv:1406.1078; the reset
    gate acts after the recurrent product, as in cuDNN).

    Args:
        projected: `[T, ..., 3H]`, inputs times input weights, gates in the order reset,
            update, new.
        w: `[H, 3H]` recurrent weights. b_in, b: `[3H]` bias of inputs and of the
            recurrent product.
        h0: `[..., H]` state before the first step.
        reset: `[T, ...]` bool with as many axes as fit; the state is zeroed before
            such a step.

    Returns:
        Hidden states after each step, `[T, ..., H]`.
    """
    _check(projected, w, b_in, b, h0, reset)
    return _states(projected, w, b_in, b, h0, reset)


def _check(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> None:
    """Refuses arguments of ``gru`` that do not fit each other."""
    hidden = h0.shape[-1]
    chex.assert_shape([w, b_in, b], [(hidden, 3 * hidden), *[(3 * hidden,)] * 2])
    chex.assert_shape(projected, (None, *h0.shape[:-1], 3 * hidden))
    chex.assert_equal_shape_prefix([projected, reset], reset.ndim)
    chex.assert_type([projected, w, b_in, b, h0], float)
    chex.assert_type(reset, bool)


def _states(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> Array:
    """The states alone, where nobody asks for gradients.

    With nothing else to emit, XLA would fuse all gates of a step into one loop over
    slices, which it does not vectorise on a CPU: three products with contiguous gates
    take a third of the time.
    """
    keep = _keep(reset, projected)
    gates = jnp.split(projected, 3, axis=-1)
    w_r, w_z, w_n = jnp.split(w, 3, axis=-1)
    outer, b_n = _biases(b_in, b)
    o_r, o_z, o_n = jnp.split(outer, 3)

    def step(h: Array, xs: tuple[Array, ...]) -> tuple[Array, Array]:
        x_r, x_z, x_n, kept = xs
        h = h * kept
        r = jax.nn.sigmoid(x_r + (h @ w_r + o_r))
        z = jax.nn.sigmoid(x_z + (h @ w_z + o_z))
        n = jnp.tanh(x_n + o_n + r * (h @ w_n + b_n))
        h = n + z * (h - n)
        return h, h

    return jax.lax.scan(step, h0, (*gates, keep))[1]


def _biases(b_in: Array, b: Array) -> tuple[Array, Array]:
    """What is added outside the reset gate, `[3H]`, and inside it, `[H]`."""
    b_rz, b_n = jnp.split(b, [2 * (b.shape[0] // 3)])
    return b_in + jnp.concatenate([b_rz, jnp.zeros_like(b_n)]), b_n


def _keep(reset: Array, like: Array) -> Array:
    """1 where the state is kept, 0 where it is zeroed, broadcastable to ``like``."""
    return widened((~reset).astype(like.dtype), like)


def _forward(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> tuple[Array, _Residuals]:
    _check(projected, w, b_in, b, h0, reset)
    keep = _keep(reset, projected)
    outer, b_n = _biases(b_in, b)

    def step(h: Array, xs: tuple[Array, Array]) -> tuple[Array, tuple[Array, ...]]:
        x, kept = xs
        h = h * kept
        x_r, x_z, x_n = jnp.split(x + outer, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ w, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        h_n = h_n + b_n
        n = jnp.tanh(x_n + r * h_n)
        new = n + z * (h - n)
        return new, (new, h, r, z, n, h_n)

    _, (hs, *saved) = jax.lax.scan(step, h0, (projected, keep))
    return hs, (w, keep, *saved)


def _backward(res: _Residuals, grad: Array) -> tuple[Array | None, ...]:
    w, keep, h_in, r, z, n, h_n = res

    def step(dh: Array, xs: tuple[Array, ...]) -> tuple[Array, Array]:
        g, kept, h, r, z, n, h_n = xs
        dh = dh + g
        d_n = dh * (1 - z) * (1 - n * n)
        d_z = dh * (h - n) * z * (1 - z)
        d_r = d_n * h_n * r * (1 - r)
        d_rec = jnp.concatenate([d_r, d_z, d_n * r], axis=-1)
        d_in = jnp.concatenate([d_r, d_z, d_n], axis=-1)
        return (dh * z + d_rec @ w.T) * kept, d_in

    dh0, d_projected = jax.lax.scan(
        step, jnp.zeros_like(grad[0]), (grad, keep, h_in, r, z, n, h_n), reverse=True
    )
    d_r, d_z, d_n = jnp.split(d_projected, 3, axis=-1)
    d_h_n = d_n * r
    d_rec = jnp.concatenate([d_r, d_z, d_h_n], axis=-1).reshape(-1, w.shape[1])
    dw = h_in.reshape(-1, w.shape[0]).T @ d_rec
    db_in = d_projected.reshape(-1, w.shape[1]).sum(0)
    # Of the reset and update gates both biases have the same gradient.
    db_n = d_h_n.reshape(-1, w.shape[0]).sum(0)
    db = jnp.concatenate([db_in[: -w.shape[0]], db_n])
    return d_projected, dw, db_in, db, dh0, None


gru.defvjp(_forward, _backward)
