"""Which worlds of a block each gradient step reads."""

import jax
import jax.numpy as jnp

from rolemarl_jax.rng import named
from rolemarl_jax.types import Array, Key


def shuffled(worlds: int, minibatch: int, epochs: int, key: Key) -> Array:
    """Worlds of each step, `[epochs * worlds / minibatch, minibatch]` int32.

    Every epoch takes each world once, in an order of its own.

    Args:
        minibatch: divides ``worlds``.
    """

    def epoch(i: Array) -> Array:
        order = jax.random.permutation(named(key, "epoch", i), worlds)
        return order.reshape(-1, minibatch)

    return jax.vmap(epoch)(jnp.arange(epochs)).reshape(-1, minibatch)
