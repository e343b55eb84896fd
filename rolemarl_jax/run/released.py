"""One learner of a finished run, in a folder small enough to ship.

It holds configuration, evaluations, summary, and parameters: all that acting, pictures
of roles and ``init_from`` read, and nothing of what training goes on with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, files, rundir
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.members import Row
from rolemarl_jax.report import findings, loggers, summary
from rolemarl_jax.run import stored
from rolemarl_jax.run_config import RunConfig

# What the run knows of itself that its rows do not tell.
PROVENANCE = ("device", "versions", "commit")


def require_new(out: Path) -> None:
    """Refuses a place where something lies.

    Raises:
        ConfigError: a file, or a folder that is not empty.
    """
    rundir.require_plain(out, "out")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"out: '{out}' exists; allowed: a new or an empty folder")


def release(
    cfg: RunConfig,
    learner: Learner,
    member: tuple[int, int],
    told: Mapping[str, Any],
    out: Path,
) -> None:
    """Writes the folder of one seed.

    Args:
        cfg: of the run, or of the chunk that has the learner.
        learner: made from ``cfg.algo``.
        member: place of the learner in its checkpoint, and its seed.
        told: the run's ``summary.json``.
        out: a folder that ``require_new`` let pass.

    Raises:
        ConfigError: no checkpoint, or no evaluation of this seed.
    """
    index, seed = member
    rows = [row for row in _tests(cfg) if row["seed"] == seed]
    if not rows:
        raise ConfigError(f"run_dir: '{cfg.run_dir}' has no evaluation of seed {seed}")
    found = stored.load_states(cfg, learner)
    state = jax.tree.map(lambda x: x[index][None], found.state["learner"])
    alone = replace(cfg, seed=seed, seeds=1, run_dir=str(out), resume=False)
    rundir.create(alone)
    files.write_text(out / rundir.METRICS, loggers.json_lines(rows))
    summed = findings.summarise(alone, rows, {})
    summed |= {key: told[key] for key in PROVENANCE if key in told}
    summary.write(out, summed)
    parts = {"learner": state._replace(opt={})}
    meta = {"env_steps": found.step}
    checkpoint.save(out / rundir.RELEASED, found.step, parts, meta, keep=1)


def _tests(cfg: RunConfig) -> Sequence[Row]:
    """Rows of a run's evaluations."""
    rows = loggers.read(Path(cfg.run_dir) / rundir.METRICS)
    return [row for row in rows if row["split"] == "test"]
