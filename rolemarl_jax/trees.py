"""Trees of arrays: their bytes, and choices along leading axes."""

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array, PyTree


def tree_bytes(tree: PyTree) -> int:
    """Bytes of all arrays of a tree, or of their shapes; other leaves count nothing."""
    leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, "dtype")]
    return sum(int(x.size) * int(x.dtype.itemsize) for x in leaves)


def widened(mask: Array, like: Array) -> Array:
    """A mask `[...]` with as many axes as ``like`` `[..., *]`, to broadcast over it.

    Raises:
        AssertionError: while tracing, if the mask's axes are not the first of ``like``.
    """
    chex.assert_equal_shape_prefix([mask, like], mask.ndim)
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))


def choose(mask: Array, a: PyTree, b: PyTree) -> PyTree:
    """``a`` where the mask `[...]` holds and ``b`` elsewhere, leaf by leaf `[..., *]`.

    Typed keys are leaves like any other.
    """
    return jax.tree.map(lambda x, y: jnp.where(widened(mask, x), x, y), a, b)
