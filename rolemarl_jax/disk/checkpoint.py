"""Checkpoints: whole or absent, and readable in parts.

A state is a mapping of named parts (``learner``, ``replay``, ...), each a pytree.
Parts are stored side by side, so an evaluation reads the learner without the
replay. Orbax writes under a temporary name and renames, and older checkpoints are
removed only after a newer one is complete: a crash costs at most what was being
written. Typed keys, booleans, bfloat16 and optimiser states come back bit-equal: the
record holds a digest of every part, and the folder one of every file, compared when
it is read.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import digests, files
from rolemarl_jax.disk.rundir import require_plain
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import PyTree

META = "meta"
MARK = "commit_success.txt"  # of orbax, in each whole folder
DIGESTS = "digests"  # in the record; checkpoints of older versions have none
PIECE, FILE = 2**24, 2**26  # bytes of an array's pieces, and of files
SPARE = 32 * 2**20  # bytes left free besides the checkpoint's own


class Restored(NamedTuple):
    """What ``restore`` read.

    Attributes:
        step: of the checkpoint.
        state: the parts asked for.
        meta: as saved.
        note: empty, or a sentence about newer checkpoints that were unreadable.
    """

    step: int
    state: dict[str, PyTree]
    meta: dict[str, Any]
    note: str


def save(
    directory: Path,
    step: int,
    state: Mapping[str, PyTree],
    meta: Mapping[str, Any],
    keep: int,
) -> None:
    """Writes one checkpoint and returns when it is complete on disk.

    Args:
        directory: holds all checkpoints of a run; made if absent.
        step: env steps a seed, the checkpoint's number; an older attempt at the
            same step is replaced.
        state: parts by name; any name but ``meta``.
        meta: what JSON can hold, without ``digests``.
        keep: checkpoints that remain, the newest ones.

    Raises:
        ConfigError: too little free space, or a path that cannot be read again;
            nothing was written or removed.
        OSError: the checkpoint is not there after it was written.
    """
    require_plain(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _require_space(directory, tree_bytes(state))
    parts = {name: _part(part) for name, part in state.items()}
    record = {**meta, DIGESTS: digests.of_parts(state, meta)}
    with _manager(directory, keep) as manager:
        if step in manager.all_steps():
            manager.delete(step)
        args = ocp.args.Composite(**parts, **{META: ocp.args.JsonSave(record)})
        manager.save(step, args=args, force=True)
    _forget_place(directory / str(step))
    digests.list_files(directory / str(step))
    if latest(directory) != step:
        raise OSError(f"checkpoint {step} was written, and is not in {directory}")


def _forget_place(folder: Path) -> None:
    """Takes paths of this machine out of orbax's marks; that they are there counts."""
    for mark in folder.rglob(MARK):
        files.write_text(mark, "committed\n")


def latest(directory: Path) -> int | None:
    """Step of the newest checkpoint, or ``None``; it is not read."""
    if not directory.is_dir():
        return None
    with _manager(directory) as manager:
        return manager.latest_step()


def restore(
    directory: Path, abstract: Mapping[str, PyTree], step: int | None = None
) -> Restored:
    """Reads the newest whole checkpoint, or the one of ``step``.

    Args:
        directory: as given to ``save``.
        abstract: the parts wanted, as arrays or ``jax.ShapeDtypeStruct`` (from
            ``jax.eval_shape``); without a sharding they go to the first device.
        step: read exactly this one instead of the newest whole one.

    Raises:
        ConfigError: there is no checkpoint, or none that can be read.
    """
    steps = _steps(directory, step)
    faults: list[str] = []
    for candidate in steps:
        try:
            state, meta = _read(directory, candidate, abstract)
        # Orbax, tensorstore and JSON each raise their own kind on a cut file.
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:200]
            faults.append(f"{candidate} ({type(error).__name__}: {reason})")
            continue
        note = f"unreadable, so an older one is used: {'; '.join(faults)}"
        return Restored(candidate, state, meta, note if faults else "")
    raise ConfigError(
        f"no checkpoint in {directory} can be read by this configuration: "
        f"{'; '.join(faults)}. Start again with another run_dir, or restore the "
        "configuration that the run was started with."
    )


def on_host(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype, placed on the CPU: for what may be too much for one device."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        device = jax.devices()[0]
    here = jax.sharding.SingleDeviceSharding(device)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)


def _part(tree: PyTree) -> ocp.args.PyTreeSave:
    """How a part is written: in pieces, each gone from memory once it is on disk.

    Written whole, it would lie in memory a second time, compressed.
    """
    how = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=PIECE), tree)
    return ocp.args.PyTreeSave(tree, how, ocdbt_target_data_file_size=FILE)


def _require_space(directory: Path, needed: int) -> None:
    """Refuses to begin what the disk cannot hold."""
    free = shutil.disk_usage(directory).free
    if free < needed + SPARE:
        raise ConfigError(
            f"checkpoint: {needed / 2**20:.0f} MiB needed and "
            f"{SPARE / 2**20:.0f} MiB besides that stay free, "
            f"{free / 2**20:.0f} MiB free in {directory}; earlier checkpoints are "
            "untouched. Free some space and go on with resume=true, with a smaller "
            "checkpoint.keep if need be; a new run saves less with "
            "checkpoint.replay=false."
        )


def _steps(directory: Path, step: int | None) -> list[int]:
    """Steps to try, newest first."""
    found: list[int] = []
    if directory.is_dir():
        with _manager(directory) as manager:
            found = sorted(manager.all_steps(), reverse=True)
    wanted = found if step is None else [one for one in found if one == step]
    if not wanted:
        have = ", ".join(map(str, found)) or "none"
        asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise ConfigError(f"{asked} in {directory}; there: {have}. Check run_dir.")
    return wanted


def _read(
    directory: Path, step: int, abstract: Mapping[str, PyTree]
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """One checkpoint.

    Raises:
        OSError: a file or a part is not what was saved.
        Exception: whatever orbax raises where it is not whole.
    """
    digests.require_listed(directory / str(step))
    placed = {name: jax.tree.map(_placed, part) for name, part in abstract.items()}
    wanted = {name: ocp.args.StandardRestore(part) for name, part in placed.items()}
    with _manager(directory) as manager:
        args = ocp.args.Composite(**wanted, **{META: ocp.args.JsonRestore()})
        read = manager.restore(step, args=args)
    state, meta = {name: read[name] for name in wanted}, dict(read[META])
    kept = meta.pop(DIGESTS, None)
    wrong = [] if kept is None else digests.faults(kept, state, meta)
    if wrong:
        raise OSError(f"not what was saved: {', '.join(wrong)}")
    return state, meta


def _placed(leaf: Any) -> Any:
    """Shape and dtype with a sharding: that of the array, or the first device."""
    if not hasattr(leaf, "dtype"):
        return leaf
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    sharding = getattr(leaf, "sharding", None) or here
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


@contextmanager
def _manager(
    directory: Path, keep: int | None = None
) -> Iterator[ocp.CheckpointManager]:
    """A synchronous manager; ``keep`` of ``None`` removes nothing."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False
    )
    with ocp.CheckpointManager(directory.resolve(), options=options) as manager:
        yield manager
