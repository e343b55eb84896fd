"""Files that are there as a whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which takes the place of ``path`` when the block is left.

    After an exception ``path`` is what it was, and nothing is left beside it.
    """
    with _scratch(path) as scratch:
        yield scratch
        os.replace(scratch, path)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text; readers see the old file or the new one."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf8")


def create_text(path: Path, text: str, mode: int = 0o666) -> bool:
    """Writes UTF-8 text where no file is; of several that try, one succeeds.

    Args:
        path: of the file.
        text: all of it.
        mode: permissions, less what the process masks.

    Returns:
        Whether it was written; ``False`` leaves the file that is there.
    """
    with _scratch(path) as scratch:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf8") as file:
            file.write(text)
        try:
            os.link(scratch, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A name beside ``path`` that no other process uses; free again afterwards."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)
