"""What tells whether a stored tree came back as it was."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rolemarl_jax.disk import files
from rolemarl_jax.types import PyTree

LISTING = "files.b2"  # in a folder; its last line is the digest of those before it


def list_files(folder: Path) -> None:
    """Writes down, in the folder, the digests of all its files."""
    lines = "".join(f"{one} {name}\n" for name, one in _of_files(folder).items())
    files.write_text(folder / LISTING, lines + _of_text(lines) + "\n")


def require_listed(folder: Path) -> None:
    """Compares all files of a folder with its listing, if it has one.

    Raises:
        OSError: a file, or the listing, is not what was written.
    """
    if not (folder / LISTING).exists():
        return
    lines = (folder / LISTING).read_bytes().decode(errors="replace")
    body, own = lines[:-33], lines[-33:]
    if own != _of_text(body) + "\n":
        raise OSError(f"not what was written: {LISTING}")
    kept = {name: one for one, name in (x.split(" ", 1) for x in body.splitlines())}
    found = _of_files(folder)
    wrong = [name for name in kept | found if kept.get(name) != found.get(name)]
    if wrong:
        raise OSError(f"not what was written: {', '.join(sorted(wrong)[:3])}")


def _of_files(folder: Path) -> dict[str, str]:
    """Digests of all files below a folder but the listing, by relative name."""
    names = sorted(x for x in folder.rglob("*") if x.is_file() and x.name != LISTING)
    found = {}
    for path in names:
        with path.open("rb") as file:
            one = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        found[path.relative_to(folder).as_posix()] = one.hexdigest()
    return found


def _of_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


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
