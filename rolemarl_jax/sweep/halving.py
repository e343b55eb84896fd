"""A chunk that exceeded the memory, taken apart so that nothing saved is lost."""

import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.program.program import SeedState
from rolemarl_jax.report import loggers
from rolemarl_jax.run import saved
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import PyTree

# Names of folders that are no chunk (these have a dash).
SCRATCH = "parts_{}"


def split(
    whole: RunConfig, parts: Sequence[RunConfig], shapes: SeedState
) -> int | None:
    """Turns the newest checkpoint of a chunk into one of each of its parts.

    The chunk's folder goes away, and before it does all parts are in place: a crash
    leaves the chunk as it was, or the parts.

    Args:
        whole: the chunk.
        parts: those that take its place, in order; together they have its seeds.
        shapes: of what one member keeps.

    Returns:
        Env steps that the parts go on from; ``None`` if nothing was saved.
    """
    folder = Path(whole.run_dir)
    saved = _saved(whole, shapes)
    if saved is None:
        remove(folder)
        return None
    scratch = folder.with_name(SCRATCH.format(uuid.uuid4().hex))
    for part in parts:
        _write(whole, saved, replace(part, run_dir=str(scratch / part.run_dir[-13:])))
    for part in parts:
        shutil.rmtree(part.run_dir, ignore_errors=True)
        os.replace(scratch / part.run_dir[-13:], part.run_dir)
    remove(folder)
    scratch.rmdir()
    return saved.step


def remove(folder: Path) -> None:
    """Removes a folder, which is gone under its name at once."""
    away = folder.with_name(SCRATCH.format(uuid.uuid4().hex))
    if folder.exists():
        os.replace(folder, away)
        shutil.rmtree(away, ignore_errors=True)


def _saved(cfg: RunConfig, shapes: SeedState) -> checkpoint.Restored | None:
    """The newest whole checkpoint of a chunk, in the memory of the host."""
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    if checkpoint.latest(folder) is None:
        return None
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((members.count(cfg), *x.shape), x.dtype),
        shapes,
    )
    abstract = jax.eval_shape(partial(saved.parts, cfg), state)
    try:
        return checkpoint.restore(folder, jax.tree.map(checkpoint.on_host, abstract))
    except ConfigError as error:
        print(error)
        return None


def _write(whole: RunConfig, saved: checkpoint.Restored, part: RunConfig) -> None:
    """Configuration, rows and checkpoint of some seeds of a chunk."""
    each = len(members.combinations(whole))
    first, last = (each * (x - whole.seed) for x in (part.seed, part.seed + part.seeds))
    seeds = range(part.seed, part.seed + part.seeds)
    rundir.create(part)
    rows = loggers.read(Path(whole.run_dir) / rundir.METRICS)
    out = loggers.jsonl(Path(part.run_dir) / rundir.METRICS)
    out.write([row for row in rows if row["seed"] in seeds])

    def cut(state: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[first:last], state)

    checkpoint.save(
        Path(part.run_dir) / rundir.CHECKPOINTS,
        saved.step,
        {name: cut(state) for name, state in saved.state.items()},
        saved.meta,
        part.checkpoint.keep,
    )
