"""Files that are there as a whole or not at all."""

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rolemarl_jax.config import ConfigError

FULL = (errno.ENOSPC, errno.EDQUOT)
# Tensorstore gives no number, and calls it RESOURCE_EXHAUSTED as XLA does memory.
FULL_TEXT = ("no space left on device", "disk quota exceeded")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which takes the place of ``path`` when the block is left.

    After an exception ``path`` is what it was, and nothing is left beside it.
    """
    with _scratch(path) as scratch:
        yield scratch
        os.replace(scratch, path)


def read_text(path: Path, key: str) -> str:
    """UTF-8 text of a file.

    Args:
        path: of the file.
        key: of the command line, which the message names.

    Raises:
        ConfigError: it cannot be read, or is no such text.
    """
    try:
        return path.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: '{path}' cannot be read: {error}") from None


def is_file(path: Path, key: str) -> bool:
    """Whether there is such a file.

    Raises:
        ConfigError: nobody can tell, because its folder cannot be read.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError(f"{key}: '{path}' cannot be read: {error}") from None


def require_writable(path: Path, key: str) -> None:
    """Refuses a file that cannot be written, before anything is done for it.

    Args:
        path: of the file, which may be there; its folder may have to be made.
        key: of the command line, which the message names.

    Raises:
        ConfigError: a directory, or below what is none or cannot be written.
    """
    if os.path.isdir(path):
        raise ConfigError(f"{key}: got '{path}', a directory; allowed: a file's name")
    _require_place(path, key, path.absolute().parents)


def require_folder(path: Path, key: str) -> None:
    """Refuses a directory that cannot be made or written, likewise.

    Raises:
        ConfigError: a file, or below what is no directory or cannot be written.
    """
    _require_place(path, key, (path.absolute(), *path.absolute().parents))


def _require_place(path: Path, key: str, folders: Iterable[Path]) -> None:
    """The first of some folders that is there has to be one that can be written."""
    # Unlike Path.exists, this is no error where a folder cannot be looked into.
    there = next(folder for folder in folders if os.path.lexists(folder))
    if not os.path.isdir(there):
        raise ConfigError(
            f"{key}: got '{path}', but '{there}' is no directory; choose another {key}"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{key}: got '{path}', but '{there}' cannot be written; choose another "
            f"{key}, in a directory of yours"
        )


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text; readers see the old file or the new one."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf8")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes, likewise."""
    with replacing(path) as scratch:
        scratch.write_bytes(data)


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
def full_disk_told(folder: Path | str) -> Iterator[None]:
    """Turns errors of a full disk, whoever raises them, into one that says so.

    Args:
        folder: that is written to.

    Raises:
        ConfigError: a disk was full; a quota counts as a disk.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        reason = str(error).strip().split("\n")[0][:400]
        raise ConfigError(
            f"run_dir: got '{folder}', where the disk or a quota is full ({reason}); "
            "what was saved before is whole. Free some space and go on with resume=true"
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, is that of a full disk."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if any(text in str(error).lower() for text in FULL_TEXT):
        return True
    earlier = error.__cause__ or error.__context__
    return earlier is not None and is_disk_full(earlier)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A name beside ``path`` that no other process uses; free again afterwards."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)
