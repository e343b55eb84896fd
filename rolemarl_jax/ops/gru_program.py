"""What one program of ``ops.scan_kernel`` does with its rows, step by step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rolemarl_jax.types import Array

_Ref = Any
_Three = tuple[Array, ...]  # one for each gate


class Sizes(NamedTuple):
    """Of one call."""

    steps: int
    rows: int  # of a program
    width: int  # H
    interpret: bool

    def gate(self, index: int) -> Any:
        """Columns of a gate."""
        return pl.ds(index * self.width, self.width)


class Gradients(NamedTuple):
    """What the way back leaves."""

    projected: Array  # [T, R, 3H]
    h_n: Array  # [T, R, H] of the recurrent product, new gate
    h_in: Array  # [T, R, H] states that steps began with
    h0: Array  # [R, H]
    b: Array  # [P, 4H] sums over rows of the first two, for each program


class _Weights(NamedTuple):
    """What a program keeps: gates in the order reset, update, new."""

    w: tuple[Array, ...]  # [H, H] each
    outer: tuple[Array, ...]  # [1, H] each, biases outside the reset gate
    b_n: Array  # [1, H] inside it


class _Inputs(NamedTuple):
    """Of one step."""

    x: _Three  # [rows, H] each
    kept: Array  # [rows, 1]


def _weights(sizes: Sizes, w: _Ref, outer: _Ref, b_n: _Ref) -> _Weights:
    gates = [sizes.gate(i) for i in range(3)]
    return _Weights(
        tuple(w[:, gate] for gate in gates),
        tuple(outer[gate].astype(jnp.float32)[None] for gate in gates),
        b_n[:].astype(jnp.float32)[None],
    )


def _inputs(sizes: Sizes, x: _Ref, keep: _Ref, t: Array | int) -> _Inputs:
    return _Inputs(_three(sizes, x, t), keep[t, :].astype(jnp.float32)[:, None])


def _three(sizes: Sizes, x: _Ref, t: Array | int) -> _Three:
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


def forward_program(sizes: Sizes, *refs: _Ref) -> None:
    """States of some rows; references as ``scan_kernel.forward`` has arguments."""
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


def backward_program(sizes: Sizes, *refs: _Ref) -> None:
    """Gradients of some rows; references as ``scan_kernel.backward`` has arguments."""
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
    sizes: Sizes, left: Gradients, t: Array, h: Array, parts: tuple[Array, ...]
) -> None:
    """Writes what a step of the way back found."""
    for gate, part in enumerate(parts[:3]):
        left.projected[t, :, sizes.gate(gate)] = part.astype(left.projected.dtype)
    left.h_n[t, :, :] = parts[3].astype(left.h_n.dtype)
    left.h_in[t, :, :] = h.astype(left.h_in.dtype)
