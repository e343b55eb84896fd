"""Runs what is missing of a study, and writes its tables and curves.

python -m experiments.reproduce study=smax_3m scale=smoke
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.door import cli, devices
from experiments.door.cli import Option
from experiments.studies import conduct, results
from experiments.studies.processes import Start, starter
from experiments.studies.study import SMOKE, Piece, Run, load, names, runs
from rolemarl_jax import stops
from rolemarl_jax.config import ConfigError, nearest
from rolemarl_jax.disk import files

ALL = "all"
OPTIONS = {
    "study": Option(..., "file of configs/study, or all of them, one after another"),
    "scale": Option(
        "paper",
        "smoke: minutes, to see that everything runs; unless some are named below, "
        "each algorithm and each world once",
    ),
    "runs": Option(
        "runs/studies", "results go to <runs>/<study>/<scale>/<world>/<algo>"
    ),
    "worlds": Option([], "only these, for a piece of the study; all if empty"),
    "algos": Option([], "the same of algorithms"),
    "jobs": Option(
        None,
        "runs at once, which share a card; each shows itself in <runs>/.../<algo>.log; "
        "by default 1, at scale=smoke one a core",
    ),
    "docs": Option(
        None, "folder of results.md; docs, at scale=smoke that of the results"
    ),
}


def main(argv: Sequence[str] | None = None, start: Start | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Args:
        start: begins a run; by default as a process of its own.

    Raises:
        SystemExit: status 2 for wrong options, 130 or 143 if stopped, 1 if a run
            failed.
    """
    cli.guard(lambda: _main(cli.options(OPTIONS, argv, __doc__), start))


def _main(options: dict[str, Any], start: Start | None) -> None:
    asked, jobs = str(options["study"]), _jobs(options)
    pieces = [_piece(name, options) for name in (names() if asked == ALL else [asked])]
    files.require_folder(Path(str(options["runs"])), "runs")
    for docs in {piece.docs for piece in pieces}:
        files.require_folder(docs, "docs")
    wanted = _wanted(options, [run for piece in pieces for run in piece.planned])
    failed: list[Path] = []
    for piece in pieces:
        failed += _conducted(piece, wanted, start or starter(jobs), jobs)
    if failed:
        print(f"failed: {', '.join(map(str, failed))}", file=sys.stderr)
        sys.exit(1)


def _jobs(options: dict[str, Any]) -> int:
    """How many runs at once; smoke is not looked at while it runs."""
    if options["jobs"] is None:
        return devices.cores() if options["scale"] == SMOKE else 1
    return cli.whole(options, "jobs", least=1)


def _piece(name: str, options: dict[str, Any]) -> Piece:
    """A study and all of its runs."""
    study, scale = load(name), str(options["scale"])
    folder = Path(str(options["runs"])) / name / scale
    docs = Path(str(options["docs"] or (folder if scale == SMOKE else "docs")))
    planned = runs(study, folder, docs / "results" / name, scale)
    return Piece(name, study, planned, docs)


def _conducted(
    piece: Piece, wanted: Sequence[Run], start: Start, jobs: int
) -> list[Path]:
    """Makes what is wanted of a study; folders of runs that failed."""
    own = [run for run in piece.planned if run in wanted]
    if not own:
        return []
    done = conduct.conduct(piece, own, start, jobs, partial(print, flush=True))
    if done.stopped:
        sys.exit(stops.status())
    print(results.write(piece))
    return done.failed


def _wanted(options: dict[str, Any], planned: Sequence[Run]) -> list[Run]:
    """The runs of some worlds and algorithms, or all; at scale=smoke a sample."""
    if options["scale"] == SMOKE and not options["worlds"] + options["algos"]:
        return _sample(planned)
    wanted = list(planned)
    for key, field in (("worlds", "world"), ("algos", "algo")):
        known = sorted({getattr(run, field) for run in planned})
        for one in options[key]:
            if one not in known:
                raise ConfigError(f"{key}: got '{one}'; {nearest(str(one), known)}")
        some = options[key] or known
        wanted = [run for run in wanted if getattr(run, field) in some]
    return wanted


def _sample(planned: Sequence[Run]) -> list[Run]:
    """Runs of an algorithm or a study's world that none before them is of."""
    seen, wanted = set[str | Path](), list[Run]()
    for run in planned:
        new = {run.algo, run.folder.parent} - seen
        seen |= new
        wanted += [run] if new else []
    return wanted


if __name__ == "__main__":
    main()
