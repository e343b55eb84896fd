"""Recurrences over time, laid out so that the matrix products are large.

A GRU inside ``lax.scan`` spends its time in many small products: the input
projection at every step, and in the backward pass one rank-one-like update of
each weight gradient a step. Here the caller projects all inputs in one product
before the scan, and the gradient of the recurrent weights is one product after
the backward scan. Biases are added inside, where memory is read anyway. Without
gradients the scan has a form of its own. On a card all of it can be one kernel each way
(``computed_as``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.ops import scan_kernel
from rolemarl_jax.trees import widened
from rolemarl_jax.types import Array, PyTree

_Residuals = tuple[Any, ...]
Form = Literal["auto", "scan", "kernel"]
_FORM: ContextVar[Form] = ContextVar("form of recurrences", default="scan")


@contextmanager
def computed_as(form: Form) -> Iterator[None]:
    """How recurrences are computed that are traced inside.

    ``kernel``: on cards, where there is more than one step; elsewhere a scan computes
    the same.
    """
    before = _FORM.set(form)
    try:
        yield
    finally:
        _FORM.reset(before)


def resolved(form: Form) -> Form:
    """``auto`` as one of the others: the kernel in a program for a card."""
    if form != "auto":
        return form
    assumed = jax.sharding.get_abstract_mesh().abstract_device
    platform = jax.default_backend() if assumed is None else assumed.platform
    return "kernel" if platform == "gpu" else "scan"


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
    form = _scanned
    if _FORM.get() == "kernel" and projected.shape[0] > 1:
        fits = scan_kernel.fits(h0.shape[-1], w.dtype)
        form = _in_kernel if fits else _scanned_on_card
    return form(projected, w, b_in, b, h0, reset)


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


def _states(*args: Array) -> Array:
    """The states alone, where nobody asks for gradients."""
    return jax.lax.platform_dependent(*args, cuda=_by_step, default=_by_gate)


def _by_step(*args: Array) -> Array:
    """States with one product a step, as many launches as need be."""
    return _forward(_together, *args)[0]


def _by_gate(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> Array:
    """States with a product for each gate, for a CPU.

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


def _together(gates: tuple[Array, ...]) -> Array:
    """Gates as one array: on a card what is written at a step is one launch."""
    return jnp.concatenate(gates, axis=-1)


def _apart(gates: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    """The same one by one, which a CPU writes and reads faster."""
    return gates if isinstance(gates, tuple) else tuple(jnp.split(gates, 4, axis=-1))


def _forward(
    pack: Callable[[tuple[Array, ...]], PyTree],
    projected: Array,
    w: Array,
    b_in: Array,
    b: Array,
    h0: Array,
    reset: Array,
) -> tuple[Array, _Residuals]:
    """States of all steps, and what the way back reads; ``pack`` puts gates away."""
    keep = _keep(reset, projected)
    outer, b_n = _biases(b_in, b)

    def step(h: Array, xs: tuple[Array, Array]) -> tuple[Array, tuple[Array, PyTree]]:
        x, kept = xs
        h = h * kept
        x_r, x_z, x_n = jnp.split(x + outer, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ w, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        h_n = h_n + b_n
        n = jnp.tanh(x_n + r * h_n)
        new = n + z * (h - n)
        return new, (new, pack((r, z, n, h_n)))

    _, (hs, gates) = jax.lax.scan(step, h0, (projected, keep))
    return hs, (w, keep, h0, hs, gates)


def _backward(res: _Residuals, grad: Array) -> tuple[Any, ...]:
    w, keep, h0, hs, gates = res
    h_in = jnp.concatenate([h0[None], hs[:-1]]) * keep

    def step(dh: Array, xs: tuple[Array, ...]) -> tuple[Array, Array]:
        g, kept, h, gates = xs
        r, z, n, h_n = _apart(gates)
        dh = dh + g
        d_n = dh * (1 - z) * (1 - n * n)
        d_z = dh * (h - n) * z * (1 - z)
        d_r = d_n * h_n * r * (1 - r)
        d_rec = jnp.concatenate([d_r, d_z, d_n * r], axis=-1)
        d_in = jnp.concatenate([d_r, d_z, d_n], axis=-1)
        return (dh * z + d_rec @ w.T) * kept, d_in

    dh0, d_projected = jax.lax.scan(
        step, jnp.zeros_like(grad[0]), (grad, keep, h_in, gates), reverse=True
    )
    r = _apart(gates)[0]
    d_r, d_z, d_n = jnp.split(d_projected, 3, axis=-1)
    d_h_n = d_n * r
    d_rec = jnp.concatenate([d_r, d_z, d_h_n], axis=-1).reshape(-1, w.shape[1])
    dw = h_in.reshape(-1, w.shape[0]).T @ d_rec
    db_in = d_projected.reshape(-1, w.shape[1]).sum(0)
    # Of the reset and update gates both biases have the same gradient.
    db_n = d_h_n.reshape(-1, w.shape[0]).sum(0)
    db = jnp.concatenate([db_in[: -w.shape[0]], db_n])
    return d_projected, dw, db_in, db, dh0, None


_scanned = jax.custom_vjp(_states)
_scanned.defvjp(partial(_forward, _apart), _backward)
_scanned_on_card = jax.custom_vjp(_states)
_scanned_on_card.defvjp(partial(_forward, _together), _backward)


@jax.custom_vjp
def _in_kernel(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> Array:
    """As ``gru``, in a kernel where the program is compiled for a card."""
    args = projected, w, b_in, b, h0, reset
    return jax.lax.platform_dependent(*args, cuda=_on_card, default=_states)


def _on_card(*args: Array) -> Array:
    """States by the kernel."""
    projected, h0 = args[0], args[4]
    rows, width = h0.size // h0.shape[-1], h0.shape[-1]
    hs = scan_kernel.forward(*_laid_out(*args))[:, :rows]
    return hs.reshape((*projected.shape[:-1], width))


def _kernel_forward(*args: Array) -> tuple[Array, _Residuals]:
    hs = _in_kernel(*args)
    return hs, (*args, hs)


def _kernel_backward(res: _Residuals, grad: Array) -> tuple[Array | None, ...]:
    def scanned(*args: Array) -> tuple[Array, ...]:
        *given, _, grad = args
        *found, _ = _backward(_forward(_apart, *given)[1], grad)
        return tuple(found)

    found = jax.lax.platform_dependent(*res, grad, cuda=_on_card_back, default=scanned)
    return (*found, None)


def _on_card_back(*args: Array) -> tuple[Array, ...]:
    """Gradients by the kernel, and by products of all steps at once."""
    projected, w, _, _, h0, _, hs, grad = args
    rows, width = h0.size // h0.shape[-1], h0.shape[-1]
    steps = (scan_kernel.padded(_flat(x, 1), 1) for x in (hs, grad))
    found = scan_kernel.backward(*_laid_out(*args[:6]), *steps)
    h_in = found.h_in.reshape(-1, width).T
    dw = h_in @ found.projected.reshape(-1, 3 * width)
    dw_n = h_in @ found.h_n.reshape(-1, width)
    sums = found.b.sum(0).astype(w.dtype)
    return (
        found.projected[:, :rows].reshape(projected.shape),
        jnp.concatenate([dw[:, : 2 * width], dw_n], axis=-1),
        sums[: 3 * width],
        jnp.concatenate([sums[: 2 * width], sums[3 * width :]]),
        found.h0[:rows].reshape(h0.shape),
    )


def _laid_out(
    projected: Array, w: Array, b_in: Array, b: Array, h0: Array, reset: Array
) -> tuple[Array, ...]:
    """Arguments of the kernels: one axis of rows, as many as programs make up."""
    outer, b_n = _biases(b_in, b)
    keep = jnp.broadcast_to(_keep(reset, projected)[..., 0], projected.shape[:-1])
    return (
        scan_kernel.padded(_flat(projected, 1), 1),
        *(w, outer, b_n),
        scan_kernel.padded(_flat(h0, 0), 0),
        scan_kernel.padded(keep.reshape(len(keep), -1), 1),
    )


def _flat(x: Array, axis: int) -> Array:
    """All axes from one to the last but one together."""
    return x.reshape((*x.shape[:axis], -1, x.shape[-1]))


_in_kernel.defvjp(_kernel_forward, _kernel_backward)
