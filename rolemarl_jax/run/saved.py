"""Checkpoints of a run: where they lie, and what is noted beside the arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolemarl_jax.config import RunConfig
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.report import loggers
from rolemarl_jax.types import PyTree


def save(
    cfg: RunConfig,
    parts: Mapping[str, PyTree],
    env_steps: int,
    iterations: int,
    wall_s: float,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint of a run.

    Args:
        cfg: of the run.
        parts: of its state, by name.
        env_steps: of one seed.
        iterations: of the host loop, or episodes where worlds are processes.
        wall_s: seconds that the run has taken, earlier processes included.
        more: what else is noted; what JSON can hold.

    Raises:
        ConfigError: too little free space.
    """
    noted = {"iterations": iterations, "wall_s": wall_s, "env_steps": env_steps}
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    meta = {**noted, **(more or {})}
    checkpoint.save(folder, env_steps, parts, meta, cfg.checkpoint.keep)


def restore(cfg: RunConfig, abstract: Mapping[str, PyTree]) -> checkpoint.Restored:
    """Reads the last whole checkpoint of a run, and drops the rows after it.

    Args:
        cfg: of the run.
        abstract: shapes of the parts wanted.

    Raises:
        ConfigError: there is no checkpoint, or none that can be read.
    """
    restored = checkpoint.restore(Path(cfg.run_dir) / rundir.CHECKPOINTS, abstract)
    loggers.truncate_after(Path(cfg.run_dir) / rundir.METRICS, restored.step)
    return restored
