"""Runs what is missing of a study, and writes its tables and curves.

python -m experiments.reproduce study=smax_3m scale=smoke
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.studies import results
from experiments.studies.study import Run, Standing, Study, load, runs, standing

OPTIONS: dict[str, Any] = {
    "study": ...,  # file of configs/study
    "scale": "paper",  # smoke: a few minutes, to see that everything runs
    "runs": "runs/studies",  # results go to <runs>/<study>/<scale>/<world>/<algo>
    "docs": None,  # folder of results.md; docs, at scale=smoke that of the results
}
Execute = Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None, execute: Execute | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Args:
        execute: trains one run from its command line and returns an exit status.

    Raises:
        SystemExit: status 2 for wrong options, 130 if stopped, 1 if a run failed.
    """
    cli.guard(lambda: _main(cli.options(OPTIONS, argv), execute or train))


def train(arguments: Sequence[str]) -> int:
    """Runs ``experiments.run`` in a process of its own, which owns the devices."""
    command = [sys.executable, "-m", "experiments.run", *arguments]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return cli.STOPPED


def _main(options: dict[str, Any], execute: Execute) -> None:
    name, scale = str(options["study"]), str(options["scale"])
    study, folder = load(name), Path(str(options["runs"])) / name / scale
    planned = runs(study, folder, scale)
    before = [standing(run) for run in planned]
    docs = options["docs"] or (folder if scale == "smoke" else "docs")
    counts = {s: sum(b.stage == s for b in before) for s in ("finished", "begun")}
    print(f"{study.title}: {len(planned)} runs, {counts['finished']} finished, "
          f"{counts['begun']} begun", flush=True)  # fmt: skip
    failed = _complete(name, study, planned, before, Path(str(docs)), execute)
    print(results.write(Path(str(docs)), name, study, planned))
    if failed:
        print(f"failed: {', '.join(map(str, failed))}", file=sys.stderr)
        sys.exit(1)


def _complete(
    name: str,
    study: Study,
    planned: Sequence[Run],
    before: Sequence[Standing],
    docs: Path,
    execute: Execute,
) -> list[Path]:
    """Runs what has not finished; the tables are kept up to date.

    Returns:
        Folders of runs that failed; the others went on.
    """
    failed = []
    for number, (run, now) in enumerate(zip(planned, before, strict=True), 1):
        if now.stage == "finished":
            continue
        if now.stage == "unsaved":
            # It was stopped before its first checkpoint, and has to begin anew.
            shutil.rmtree(run.folder)
        print(f"[{number}/{len(planned)}] {run.folder}", flush=True)
        status = execute(now.arguments)
        results.write(docs, name, study, planned)
        if status == cli.STOPPED:
            sys.exit(cli.STOPPED)
        if status:
            failed.append(run.folder)
    return failed


if __name__ == "__main__":
    main()
