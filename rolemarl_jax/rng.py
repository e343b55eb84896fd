"""Keys by name and by id, never by order.

Seed 17 is the same experiment in a sweep of 20 or of 2,000, and a new consumer
of randomness does not shift the streams of the others.
"""

import zlib

import jax

from rolemarl_jax.types import Array, Key


def root(seed_id: int | Array) -> Key:
    """Key of one experiment: ``fold_in(key(0), seed_id)``."""
    return jax.random.fold_in(jax.random.key(0), seed_id)


def named(key: Key, name: str, step: int | Array | None = None) -> Key:
    """Stream ``name`` of a key, and its ``step``-th member if a step is given.

    Args:
        key: typed key, not consumed.
        name: what the stream is for; hashed by CRC-32, stable over processes.
        step: unbatched counter of the caller, or ``None``.
    """
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return key if step is None else jax.random.fold_in(key, step)
