"""What stays of a study's finished runs beside its tables, small enough to commit.

So a study is made in pieces, on several machines and days: a run whose configuration
has been kept with its results is not made again.
"""

import dataclasses
from pathlib import Path
from typing import Any, Protocol

from experiments.door import compose
from rolemarl_jax.config import build
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import loggers, summary
from rolemarl_jax.run_config import RunConfig


class Homes(Protocol):
    """Where a run of a study lies (``study.Run``)."""

    @property
    def folder(self) -> Path: ...  # noqa: D102
    @property
    def kept(self) -> Path: ...  # noqa: D102


def keep(run: Homes) -> None:
    """Copies configuration, summary and the rows of evaluations of a finished run."""
    if not (run.folder / rundir.SUMMARY).is_file():
        return  # made elsewhere, and kept already
    run.kept.mkdir(parents=True, exist_ok=True)
    rows = loggers.read(run.folder / rundir.METRICS)
    tests = (row for row in rows if row["split"] == "test")
    files.write_text(run.kept / rundir.METRICS, loggers.json_lines(tests))
    for name in (rundir.CONFIG, rundir.SUMMARY):
        text = (run.folder / name).read_text(encoding="utf8")
        files.write_text(run.kept / name, text)


def holds(kept: Path, arguments: tuple[str, ...]) -> bool:
    """Whether all results of the run that this command line makes lie there."""
    found = summary.read(kept)
    if found is None or not (kept / rundir.CONFIG).is_file():
        return False
    stored = rundir.load(kept)
    cfg = build(RunConfig, {**compose.composed(arguments).values, "run_dir": ""}, "")
    asked = rundir.plain(dataclasses.asdict(cfg))
    return summary.is_whole(found, cfg) and _meant(stored) == _meant(asked)


def _meant(values: dict[str, Any]) -> dict[str, Any]:
    """Leaves that decide what a run learns.

    Who looks at roles does not, nor in which form a GRU is computed.
    """
    more = "eval.role_episodes", "algo.recurrence"
    free = (*(key for key in rundir.FREE if key != "total_steps"), *more)
    return {
        key: value
        for key, value in rundir.leaves(values)
        if not any(key == one or key.startswith(f"{one}.") for one in free)
    }
