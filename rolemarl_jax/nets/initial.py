"""Initialisation other than PyTorch's default."""

import zlib

import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array, Key, PyTree


def orthogonal(params: PyTree, key: Key, gain: float) -> PyTree:
    """Matrices drawn orthogonal, vectors zero, in the shapes of ``params``.

    Each matrix has its own key, by its path. Gate matrices `[in, 3H]` are drawn whole
    (torch's `nn.init.orthogonal_` on a GRUCell).

    Args:
        gain: factor on every matrix.
    """
    draw = jax.nn.initializers.orthogonal(gain)

    def leaf(path: tuple, x: Array) -> Array:
        if x.ndim < 2:
            return jnp.zeros_like(x)
        own = zlib.crc32(jax.tree_util.keystr(path).encode())
        return draw(jax.random.fold_in(key, own), x.shape, x.dtype)

    return jax.tree_util.tree_map_with_path(leaf, params)
