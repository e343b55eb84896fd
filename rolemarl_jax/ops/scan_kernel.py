"""The gated recurrent unit of ``ops.scan`` as one kernel each way, for cards.

A program takes some rows through all steps: weights and states stay where they are, and
the inputs of a step are read while the one before is computed. Only states are written,
and the way back computes the gates again.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rolemarl_jax.types import Array

# Widths whose weights fit into a program's memory, powers of two only; up to the second
# they fit there twice, as the way back reads them, in two layouts, for gates and for
# gradients. Beyond that, products for its gates are made ahead.
_LEAST, _TWICE, _MOST = 16, 64, 128
_ROWS = 16  # of a program
_Ref = Any
_Three = tuple[Array, ...]  # one for each gate


class _Sizes(NamedTuple):
    """Of one call."""

    steps: int
    rows: int  # of a program
    width: int  # H
    interpret: bool

    def gate(self, index: int) -> Any:
        """Columns of a gate."""
        return pl.ds(index * self.width, self.width)


def fits(width: int) -> bool:
    """Whether there is a kernel for states of this width."""
    return width & (width - 1) == 0 and _LEAST <= width <= _MOST


def padded(x: Array, axis: int) -> Array:
    """Zeros appended to the rows until programs make them up."""
    missing = -x.shape[axis] % _ROWS
    widths = [(0, missing if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths) if missing else x


def forward(
    projected: Array,
    w: Array,
    outer: Array,
    b_n: Array,
    h0: Array,
    keep: Array,
    *,
    interpret: bool = False,
) -> Array:
    """States `[T, R, H]` after each step; R is a multiple of 16.

    Args:
        projected: `[T, R, 3H]`. w: `[H, 3H]`. outer: `[3H]`, biases outside the reset
            gate. b_n: `[H]`, inside it. h0: `[R, H]`. keep: `[T, R]`, 0 where the
            state is zeroed before a step, 1 elsewhere.
        interpret: whether it is imitated, on any device.
    """
    _check(projected, w, outer, b_n, h0, keep)
    sizes = _sizes(projected, h0, interpret)
    every, once, row = _specs(sizes)
    return pl.pallas_call(
        partial(_forward_kernel, sizes),
        out_shape=jax.ShapeDtypeStruct((*projected.shape[:2], sizes.width), h0.dtype),
        grid=(projected.shape[1] // sizes.rows,),
        in_specs=[every(3), once(w), once(outer), once(b_n), row(), every(0)],
        out_specs=every(1),
        **_call(sizes, "gru_forward"),
    )(projected, w, outer, b_n, h0, keep)


class Gradients(NamedTuple):
    """What the way back leaves."""

    projected: Array  # [T, R, 3H]
    h_n: Array  # [T, R, H] of the recurrent product, new gate
    h_in: Array  # [T, R, H] states that steps began with
    h0: Array  # [R, H]
    b: Array  # [P, 4H] sums over rows of the first two, for each program


def backward(
    projected: Array,
    w: Array,
    outer: Array,
    b_n: Array,
    h0: Array,
    keep: Array,
    hs: Array,
    grad: Array,
    *,
    interpret: bool = False,
) -> Gradients:
    """Gradients, given the states `[T, R, H]` and their gradients.

    Args:
        hs, grad: as ``forward`` returns them. The others: as for it.
    """
    _check(projected, w, outer, b_n, h0, keep)
    chex.assert_shape([hs, grad], (*projected.shape[:2], h0.shape[-1]))
    chex.assert_type([hs, grad], float)
    sizes, rows = _sizes(projected, h0, interpret), projected.shape[1]
    every, once, row = _specs(sizes)
    ahead = _ahead(w, h0, keep, hs)
    like = jax.ShapeDtypeStruct
    blocks, sums = rows // sizes.rows, 4 * sizes.width
    return Gradients(
        *pl.pallas_call(
            partial(_backward_kernel, sizes),
            out_shape=(
                like(projected.shape, projected.dtype),
                *[like(hs.shape, projected.dtype)] * 2,
                like(h0.shape, h0.dtype),
                like((blocks, sums), jnp.float32),
            ),
            grid=(blocks,),
            in_specs=[
                *(every(3), once(w), once(outer), once(b_n), row(), every(0)),
                *(every(1), every(1), *[every(3)] * len(ahead)),
            ],
            out_specs=(
                *(every(3), every(1), every(1), row()),
                pl.BlockSpec((1, sums), lambda i: (i, 0)),
            ),
            **_call(sizes, "gru_backward"),
        )(projected, w, outer, b_n, h0, keep, hs, grad, *ahead)
    )


def _ahead(w: Array, h0: Array, keep: Array, hs: Array) -> tuple[Array, ...]:
    """`[T, R, 3H]`, recurrent products of all steps, where a program makes none."""
    if h0.shape[-1] <= _TWICE:
        return ()
    h = jnp.concatenate([h0[None], hs[:-1]]) * keep[..., None].astype(hs.dtype)
    return ((h.reshape(-1, h.shape[-1]) @ w).reshape(*h.shape[:2], -1),)


def _check(
    projected: Array, w: Array, outer: Array, b_n: Array, h0: Array, keep: Array
) -> None:
    """Refuses arguments that do not fit each other."""
    chex.assert_rank([projected, h0], [3, 2])
    steps, (rows, width) = projected.shape[0], h0.shape
    chex.assert_shape(projected, (steps, rows, 3 * width))
    chex.assert_shape(keep, (steps, rows))
    chex.assert_shape([w, outer, b_n], [(width, 3 * width), (3 * width,), (width,)])
    chex.assert_type([projected, w, outer, b_n, h0, keep], float)


def _sizes(projected: Array, h0: Array, interpret: bool) -> _Sizes:
    return _Sizes(projected.shape[0], _ROWS, h0.shape[1], interpret)


def _specs(sizes: _Sizes) -> Any:
    """Blocks of what has steps and rows, of weights, and of what has rows alone."""

    def every(times: int) -> pl.BlockSpec:
        if not times:
            return pl.BlockSpec((sizes.steps, sizes.rows), lambda i: (0, i))
        block = sizes.steps, sizes.rows, times * sizes.width
        return pl.BlockSpec(block, lambda i: (0, i, 0))

    def once(x: Array) -> pl.BlockSpec:
        return pl.BlockSpec(x.shape, lambda i: (0,) * x.ndim)

    def row() -> pl.BlockSpec:
        return pl.BlockSpec((sizes.rows, sizes.width), lambda i: (i, 0))

    return every, once, row


def _call(sizes: _Sizes, name: str) -> dict[str, Any]:
    """How a kernel is compiled."""
    return {
        "interpret": sizes.interpret,
        # Threads whose registers hold the weights.
        "compiler_params": triton.CompilerParams(
            num_warps=4 if sizes.width <= _TWICE else 8, num_stages=1
        ),
        "name": name,
    }


class _Weights(NamedTuple):
    """What a program keeps: gates in the order reset, update, new."""

    w: tuple[Array, ...]  # [H, H] each
    outer: tuple[Array, ...]  # [1, H] each, biases outside the reset gate
    b_n: Array  # [1, H] inside it


class _Inputs(NamedTuple):
    """Of one step."""

    x: _Three  # [rows, H] each
    kept: Array  # [rows, 1]


def _weights(sizes: _Sizes, w: _Ref, outer: _Ref, b_n: _Ref) -> _Weights:
    gates = [sizes.gate(i) for i in range(3)]
    return _Weights(
        tuple(w[:, gate] for gate in gates),
        tuple(outer[gate].astype(jnp.float32)[None] for gate in gates),
        b_n[:].astype(jnp.float32)[None],
    )


def _inputs(sizes: _Sizes, x: _Ref, keep: _Ref, t: Array | int) -> _Inputs:
    return _Inputs(_three(sizes, x, t), keep[t, :].astype(jnp.float32)[:, None])


def _three(sizes: _Sizes, x: _Ref, t: Array | int) -> _Three:
    """`[rows, H]` for each gate."""
    return tuple(x[t, :, sizes.gate(i)].astype(jnp.float32) for i in range(3))


def _products(own: _Weights, h: Array) -> _Three:
    return tuple(triton.dot(h.astype(w.dtype), w) for w in own.w)


def _gates(own: _Weights, given: _Inputs, products: _Three) -> _Three:
    """Reset and update gate, new state and its recurrent part."""
    x_r, x_z, x_n = (x + outer for x, outer in zip(given.x, own.outer, strict=True))
    h_r, h_z, h_n = products
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    h_n = h_n + own.b_n
    return r, z, jnp.tanh(x_n + r * h_n), h_n


def _forward_kernel(sizes: _Sizes, *refs: _Ref) -> None:
    x, w, outer, b_n, h0, keep, out = refs
    own = _weights(sizes, w, outer, b_n)

    def step(t: Array, carry: tuple[Array, _Inputs]) -> tuple[Array, _Inputs]:
        h, given = carry
        following = _inputs(sizes, x, keep, jnp.minimum(t + 1, sizes.steps - 1))
        h = h * given.kept
        _, z, n, _ = _gates(own, given, _products(own, h))
        h = n + z * (h - n)
        out[t, :, :] = h.astype(out.dtype)
        return h, following

    first = h0[:, :].astype(jnp.float32), _inputs(sizes, x, keep, 0)
    jax.lax.fori_loop(0, sizes.steps, step, first)


class _Behind(NamedTuple):
    """What the way back takes from step to step."""

    dh: Array  # [rows, H]
    sums: tuple[Array, ...]  # [rows, H] of the gates' gradients and the recurrent one's
    given: _Inputs
    h: Array  # [rows, H] state before the step
    grad: Array  # [rows, H] of the state after it
    products: _Three | None  # where they were made ahead


def _backward_kernel(sizes: _Sizes, *refs: _Ref) -> None:
    x, w, outer, b_n, h0, keep, hs, grad = refs[:8]
    outputs = len(Gradients._fields)
    ahead, left = refs[8:-outputs], Gradients(*refs[-outputs:])
    own = _weights(sizes, w, outer, b_n)
    begun = h0[:, :].astype(jnp.float32)

    def read(t: Array | int) -> tuple[_Inputs, Array, Array, _Three | None]:
        before = hs[jnp.maximum(t - 1, 0), :, :].astype(jnp.float32)
        h = jnp.where(t == 0, begun, before)
        products = _three(sizes, ahead[0], t) if ahead else None
        return (
            _inputs(sizes, x, keep, t),
            h,
            grad[t, :, :].astype(jnp.float32),
            products,
        )

    def step(i: Array, carry: _Behind) -> _Behind:
        t = sizes.steps - 1 - i
        following = read(jnp.maximum(t - 1, 0))
        h = carry.h * carry.given.kept
        products = _products(own, h) if carry.products is None else carry.products
        r, z, n, h_n = _gates(own, carry.given, products)
        d = carry.dh + carry.grad
        d_n = d * (1 - z) * (1 - n * n)
        d_z = d * (h - n) * z * (1 - z)
        parts = (d_n * h_n * r * (1 - r), d_z, d_n, d_n * r)
        _leave(sizes, left, t, h, parts)
        back = d * z + sum(
            triton.dot(parts[i].astype(one.dtype), one, trans_b=True)
            for i, one in zip((0, 1, 3), own.w, strict=True)
        )
        sums = tuple(map(jnp.add, carry.sums, parts))
        return _Behind(back * carry.given.kept, sums, *following)

    zero = jnp.zeros((sizes.rows, sizes.width), jnp.float32)
    first = _Behind(zero, (zero,) * 4, *read(sizes.steps - 1))
    last = jax.lax.fori_loop(0, sizes.steps, step, first)
    left.h0[:, :] = last.dh.astype(left.h0.dtype)
    for gate, total in enumerate(last.sums):
        left.b[0, sizes.gate(gate)] = total.sum(0)


def _leave(
    sizes: _Sizes, left: Gradients, t: Array, h: Array, parts: tuple[Array, ...]
) -> None:
    """Writes what a step of the way back found."""
    for gate, part in enumerate(parts[:3]):
        left.projected[t, :, sizes.gate(gate)] = part.astype(left.projected.dtype)
    left.h_n[t, :, :] = parts[3].astype(left.h_n.dtype)
    left.h_in[t, :, :] = h.astype(left.h_in.dtype)
