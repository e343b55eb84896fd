"""The gated recurrent unit of ``ops.scan`` as one kernel each way, for cards.

A program takes some rows through all steps. Only states are written, and the way back
computes the gates again. States and weights are taken in tiles, so that any width will
do that tiles of at least 16 make up; what a step leaves for the next lies in its
results, which are near (in a cache) when they are read again.
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rolemarl_jax.types import Array

_LEAST, _TILE, _ROWS = 16, 64, 32  # of a tile; at most so wide; rows of a program
_Ref = Any


class _Sizes(NamedTuple):
    """Of one call."""

    steps: int
    rows: int  # of a program
    width: int  # H
    tile: int
    interpret: bool

    @property
    def tiles(self) -> int:
        """Tiles of a state."""
        return self.width // self.tile

    def at(self, index: Array | int, gate: int = 0) -> Any:
        """Columns of one tile, of a gate."""
        return pl.ds(gate * self.width + index * self.tile, self.tile)


def _divisor(size: int, most: int) -> int:
    """The largest power of two up to ``most`` that divides a size."""
    return min(size & -size, most)


def fits(width: int) -> bool:
    """Whether tiles make up a state of this width."""
    return _divisor(width, _TILE) >= _LEAST


def padded(x: Array, axis: int) -> Array:
    """Zeros appended to the rows until programs make them up."""
    missing = -x.shape[axis] % _LEAST
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
                *(every(1), every(1)),
            ],
            out_specs=(
                *(every(3), every(1), every(1), row()),
                pl.BlockSpec((1, sums), lambda i: (i, 0)),
            ),
            **_call(sizes, "gru_backward"),
        )(projected, w, outer, b_n, h0, keep, hs, grad)
    )


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
    rows, width = h0.shape
    tile = _divisor(width, _TILE)
    return _Sizes(projected.shape[0], _divisor(rows, _ROWS), width, tile, interpret)


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
        "compiler_params": triton.CompilerParams(num_warps=4, num_stages=1),
        "name": name,
    }


class _Read(NamedTuple):
    """What both kernels read."""

    x: _Ref
    w: _Ref
    outer: _Ref
    b_n: _Ref
    h0: _Ref
    keep: _Ref


def _loop(tiles: int, add: Any, start: Any) -> Any:
    """``add(tile, carry)`` over tiles; one needs no loop."""
    return jax.lax.fori_loop(0, tiles, add, start) if tiles > 1 else add(0, start)


def _begun(sizes: _Sizes, read: _Read, hs: _Ref, t: Array, k: Array | int) -> Array:
    """One tile of the state that a step begins with."""
    at = sizes.at(k)
    before = hs[jnp.maximum(t - 1, 0), :, at].astype(jnp.float32)
    h = jnp.where(t == 0, read.h0[:, at].astype(jnp.float32), before)
    return h * read.keep[t, :].astype(jnp.float32)[:, None]


def _gates(
    sizes: _Sizes, read: _Read, hs: _Ref, t: Array, k: Array | int
) -> tuple[Array, Array, Array, Array]:
    """Reset and update gate, new state and its recurrent part, of one tile."""

    def add(j: Array | int, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        h = _begun(sizes, read, hs, t, j).astype(read.w.dtype)
        return tuple(
            part + triton.dot(h, read.w[sizes.at(j), sizes.at(k, gate)])
            for gate, part in enumerate(sums)
        )

    zero = jnp.zeros((sizes.rows, sizes.tile), jnp.float32)
    products = _loop(sizes.tiles, add, (zero,) * 3)
    x_r, x_z, x_n = (
        (read.x[t, :, at] + read.outer[at][None]).astype(jnp.float32)
        for at in (sizes.at(k, gate) for gate in range(3))
    )
    r, z = jax.nn.sigmoid(x_r + products[0]), jax.nn.sigmoid(x_z + products[1])
    h_n = products[2] + read.b_n[sizes.at(k)].astype(jnp.float32)[None]
    return r, z, jnp.tanh(x_n + r * h_n), h_n


def _barrier(interpret: bool) -> None:
    """What the program's threads have written is seen by all of them."""
    if not interpret:
        triton.debug_barrier()


def _forward_kernel(sizes: _Sizes, *refs: _Ref) -> None:
    read, out = _Read(*refs[:6]), refs[6]

    def step(t: Array, _: None) -> None:
        def tile(k: Array | int, _: None) -> None:
            z, n = _gates(sizes, read, out, t, k)[1:3]
            new = n + z * (_begun(sizes, read, out, t, k) - n)
            out[t, :, sizes.at(k)] = new.astype(out.dtype)

        _loop(sizes.tiles, tile, None)
        _barrier(sizes.interpret)

    jax.lax.fori_loop(0, sizes.steps, step, None)


def _backward_kernel(sizes: _Sizes, *refs: _Ref) -> None:
    """Gradients of a step's gates are written, then read by the product back."""
    read, hs, grad = _Read(*refs[:6]), *refs[6:8]
    left = Gradients(*refs[8:])
    # The state's gradient lies where that of the first state will be.
    dh, sums = left.h0, left.b

    def begin(k: Array | int, _: None) -> None:
        dh[:, sizes.at(k)] = jnp.zeros((sizes.rows, sizes.tile), dh.dtype)
        for gate in range(4):
            sums[0, sizes.at(k, gate)] = jnp.zeros((sizes.tile,), sums.dtype)

    def step(i: Array, _: None) -> None:
        t = sizes.steps - 1 - i

        def tile(k: Array | int, _: None) -> None:
            at = sizes.at(k)
            r, z, n, h_n = _gates(sizes, read, hs, t, k)
            h = _begun(sizes, read, hs, t, k)
            d = dh[:, at].astype(jnp.float32) + grad[t, :, at].astype(jnp.float32)
            d_n = d * (1 - z) * (1 - n * n)
            d_z = d * (h - n) * z * (1 - z)
            d_r = d_n * h_n * r * (1 - r)
            for gate, part in enumerate((d_r, d_z, d_n, d_n * r)):
                sums[0, sizes.at(k, gate)] += part.sum(0)
                if gate < 3:
                    to = left.projected
                    to[t, :, sizes.at(k, gate)] = part.astype(to.dtype)
            left.h_n[t, :, at] = (d_n * r).astype(left.h_n.dtype)
            left.h_in[t, :, at] = h.astype(left.h_in.dtype)
            _barrier(sizes.interpret)
            dh[:, at] = (d * z).astype(dh.dtype)

        _loop(sizes.tiles, tile, None)
        _barrier(sizes.interpret)

        def back(j: Array | int, _: None) -> None:
            kept = read.keep[t, :].astype(jnp.float32)[:, None]
            through = dh[:, sizes.at(j)].astype(jnp.float32)
            more = _returned(sizes, read.w, left, t, j)
            _barrier(sizes.interpret)
            dh[:, sizes.at(j)] = ((through + more) * kept).astype(dh.dtype)

        _loop(sizes.tiles, back, None)
        _barrier(sizes.interpret)

    _loop(sizes.tiles, begin, None)
    _barrier(sizes.interpret)
    jax.lax.fori_loop(0, sizes.steps, step, None)


def _returned(
    sizes: _Sizes, w: _Ref, left: Gradients, t: Array, j: Array | int
) -> Array:
    """What comes back to one tile of a state through the recurrent product."""

    def add(k: Array | int, total: Array) -> Array:
        gates = (
            left.projected[t, :, sizes.at(k, 0)],
            left.projected[t, :, sizes.at(k, 1)],
            left.h_n[t, :, sizes.at(k)],
        )
        return total + sum(
            triton.dot(
                part.astype(w.dtype), w[sizes.at(j), sizes.at(k, gate)], trans_b=True
            )
            for gate, part in enumerate(gates)
        )

    zero = jnp.zeros((sizes.rows, sizes.tile), jnp.float32)
    return _loop(sizes.tiles, add, zero)
