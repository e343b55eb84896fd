"""A folder in the hands of one process.

The kernel holds the lock and frees it when the process ends, however that happens, so
a file that was left behind locks nothing. What the file says is for messages only.
"""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir


@contextmanager
def held(folder: Path | str, key: str) -> Iterator[None]:
    """Keeps other processes from using a folder until the block is left.

    The folder is made if absent. A block that wrote nothing leaves nothing: folders
    that were made for it go away with the lock's file.

    Args:
        folder: to hold; not one that this process holds already.
        key: of the configuration that names it, for messages.

    Raises:
        ConfigError: another process holds it, or it cannot be written.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        handle = _take(folder, key)
        try:
            yield
        finally:
            _release(folder / rundir.LOCK, handle)
    finally:
        remove_empty(made)


@contextmanager
def read(folder: Path | str, key: str) -> Iterator[None]:
    """As ``held``; one that this process cannot write is only refused while held.

    Raises:
        ConfigError: as ``held``, but for a folder that cannot be written.
    """
    if os.access(folder, os.W_OK):
        with held(folder, key):
            yield
    else:
        require_free(folder, key)
        yield


def require_free(folder: Path | str, key: str) -> None:
    """Refuses a folder that is held now, early; makes nothing, and holds nothing.

    Raises:
        ConfigError: as ``held``.
    """
    with suppress(OSError):
        handle = os.open(Path(folder) / rundir.LOCK, os.O_RDONLY)
        try:
            _lock(handle, fcntl.LOCK_SH, Path(folder), key)
        finally:
            os.close(handle)


def _take(folder: Path, key: str) -> int:
    """A descriptor that has the lock, of the file that lies in the folder."""
    while True:
        handle = _open(folder, key)
        if handle is None:
            continue
        try:
            _lock(handle, fcntl.LOCK_EX, folder, key)
            # Otherwise it was removed by who had it, and locks nothing any more.
            if _lies(handle, folder / rundir.LOCK):
                _sign(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _open(folder: Path, key: str) -> int | None:
    """The lock's file, made if absent; ``None`` if the folder went away meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / rundir.LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{key}: got '{folder}', which cannot be written ({error.strerror}); "
            "allowed: a directory of yours, or one that can be made"
        ) from error


def _lies(handle: int, path: Path) -> bool:
    """Whether a file is the one under its name, neither removed nor moved."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _lock(handle: int, kind: int, folder: Path, key: str) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"{key}: '{folder}' is in use by {_holder(handle)}; wait until that has "
            f"ended, or stop it, or choose another {key}"
        ) from None
    except OSError as error:
        # Of file systems that know no locks; what was possible without stays so.
        print(
            f"{key}: '{folder}' cannot be locked ({error.strerror}); make sure that "
            "no other run uses it",
            file=sys.stderr,
        )


def _sign(handle: int) -> None:
    """Says who holds it. In place: a file moved over it would not be the locked one."""
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    with suppress(OSError):  # a full disk: the lock is held without
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode(), 0)


def _holder(handle: int) -> str:
    """Who holds a lock, as far as its file says so."""
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (ValueError, TypeError, KeyError):
        return "another process"


def _release(path: Path, handle: int) -> None:
    """Removes the file while it is locked; its folder may have been moved away."""
    if _lies(handle, path):
        path.unlink(missing_ok=True)
    os.close(handle)


def remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders, innermost first, up to one that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
