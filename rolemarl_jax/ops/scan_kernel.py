"""The gated recurrent unit of ``ops.scan`` as one kernel each way, for cards.

A program takes some rows through all steps: weights and states stay where they are, and
the inputs of a step are read while the one before is computed. Only states are written,
and the way back computes the gates again.
"""

import warnings
from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rolemarl_jax.ops.gru_program import (
    Gradients,
    Sizes,
    backward_program,
    forward_program,
)
from rolemarl_jax.types import Array

# Widths whose weights fit into a program's memory, powers of two only; up to the second
# they fit there twice, as the way back reads them, in two layouts, for gates and for
# gradients. Beyond that, products for its gates are made ahead.
_LEAST, _TWICE, _MOST = 16, 64, 128
_ROWS = 16  # of a program
# Bytes of shared memory that a program may have, by compute capability (CUDA C++
# Programming Guide, table of technical specifications); of others the least of these.
_LITTLE = 65536
_SHARED = {
    **dict.fromkeys(("9.0", "10.0", "10.3"), 232448),
    **dict.fromkeys(("8.0", "8.7"), 166912),
    **dict.fromkeys(("8.6", "8.9", "12.0"), 101376),
}


def fits(width: int, dtype: Any) -> bool:
    """Whether a kernel takes states of this width on this machine's card."""
    if width & (width - 1) or not _LEAST <= width <= _MOST:
        return False
    return _has_room(width, jnp.dtype(dtype).itemsize)


@cache
def _has_room(width: int, size: int) -> bool:
    """Whether a program's weights fit into shared memory; says once if they do not."""
    copies = 2 if width <= _TWICE else 1
    needed = copies * 3 * width**2 * size + 2 * _ROWS * width * 4
    capability = getattr(jax.devices()[0], "compute_capability", None)
    has = _SHARED.get(capability, _LITTLE) if capability else needed
    if needed > has:
        warnings.warn(
            f"algo.recurrence: the kernel of a GRU with {width} units needs {needed} "
            f"bytes of shared memory, and this card (compute capability {capability}) "
            f"has {has} a program: a scan computes it",
            stacklevel=2,
        )
    return needed <= has


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
        partial(forward_program, sizes),
        out_shape=jax.ShapeDtypeStruct((*projected.shape[:2], sizes.width), h0.dtype),
        grid=(projected.shape[1] // sizes.rows,),
        in_specs=[every(3), once(w), once(outer), once(b_n), row(), every(0)],
        out_specs=every(1),
        **_call(sizes, "gru_forward"),
    )(projected, w, outer, b_n, h0, keep)


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
            partial(backward_program, sizes),
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


def _sizes(projected: Array, h0: Array, interpret: bool) -> Sizes:
    return Sizes(projected.shape[0], _ROWS, h0.shape[1], interpret)


def _specs(sizes: Sizes) -> Any:
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


def _call(sizes: Sizes, name: str) -> dict[str, Any]:
    """How a kernel is compiled."""
    return {
        "interpret": sizes.interpret,
        # Threads whose registers hold the weights.
        "compiler_params": triton.CompilerParams(
            num_warps=4 if sizes.width <= _TWICE else 8, num_stages=1
        ),
        "name": name,
    }
