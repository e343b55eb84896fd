"""What tells whether a stored tree came back as it was."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rolemarl_jax.types import PyTree


def of_parts(state: Mapping[str, PyTree], meta: Mapping[str, Any]) -> dict[str, str]:
    """Digests by name of every part, and of the record beside them under ``""``."""
    record = hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=16)
    return {"": record.hexdigest(), **{name: of(part) for name, part in state.items()}}


def of(tree: PyTree) -> str:
    """BLAKE2b of places, types, shapes and bytes of all leaves, 32 hex digits.

    Arrays are read one at a time, where they lie if they lie on the host.
    """
    found = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        # Of a typed key both: its data alone may come back as plain numbers.
        kind = leaf.dtype if _is_key(leaf) else ""
        x = np.ascontiguousarray(_plain(leaf))
        place = jax.tree_util.keystr(path)
        found.update(f"{place} {kind} {x.dtype} {x.shape};".encode())
        found.update(x.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def faults(
    kept: Mapping[str, str], state: Mapping[str, PyTree], meta: Mapping[str, Any]
) -> list[str]:
    """Names of the parts read whose digest is another than the one kept."""
    read = of_parts(state, meta)
    return [name or "meta" for name, one in read.items() if kept.get(name) != one]


def _plain(leaf: Any) -> np.ndarray:
    """The leaf on the host; of typed keys their data."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    """Whether an array holds typed keys."""
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )
