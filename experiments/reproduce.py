"""Runs what is missing of a study, and writes its tables and curves.

python -m experiments.reproduce study=smax_3m scale=smoke
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from experiments.studies import conduct, results
from experiments.studies.study import Run, load, runs
from rolemarl_jax import stops
from rolemarl_jax.config import ConfigError, nearest

OPTIONS = {
    "study": Option(..., "file of configs/study"),
    "scale": Option("paper", "smoke: a few minutes, to see that everything runs"),
    "runs": Option(
        "runs/studies", "results go to <runs>/<study>/<scale>/<world>/<algo>"
    ),
    "worlds": Option([], "only these, for a piece of the study; all if empty"),
    "algos": Option([], "the same of algorithms"),
    "docs": Option(
        None, "folder of results.md; docs, at scale=smoke that of the results"
    ),
}


def main(
    argv: Sequence[str] | None = None, execute: conduct.Execute | None = None
) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Args:
        execute: trains one run from its command line and returns an exit status.

    Raises:
        SystemExit: status 2 for wrong options, 130 or 143 if stopped, 1 if a run
            failed.
    """
    cli.guard(
        lambda: _main(cli.options(OPTIONS, argv, __doc__), execute or conduct.train)
    )


def _main(options: dict[str, Any], execute: conduct.Execute) -> None:
    name, scale = str(options["study"]), str(options["scale"])
    study, folder = load(name), Path(str(options["runs"])) / name / scale
    docs = Path(str(options["docs"] or (folder if scale == "smoke" else "docs")))
    planned = runs(study, folder, docs / "results" / name, scale)
    wanted = _wanted(options, planned)
    tell = partial(print, flush=True)
    done = conduct.conduct(name, study, planned, wanted, docs, execute, tell)
    if done.stopped:
        sys.exit(stops.status())
    print(results.write(docs, name, study, planned))
    if done.failed:
        print(f"failed: {', '.join(map(str, done.failed))}", file=sys.stderr)
        sys.exit(1)


def _wanted(options: dict[str, Any], planned: Sequence[Run]) -> list[Run]:
    """The runs of some worlds and algorithms, or all."""
    wanted = list(planned)
    for key, field in (("worlds", "world"), ("algos", "algo")):
        known = sorted({getattr(run, field) for run in planned})
        for one in options[key]:
            if one not in known:
                raise ConfigError(f"{key}: got '{one}'; {nearest(str(one), known)}")
        some = options[key] or known
        wanted = [run for run in wanted if getattr(run, field) in some]
    return wanted


if __name__ == "__main__":
    main()
