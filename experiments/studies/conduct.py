"""Runs what is missing of a study, and keeps its tables up to date meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.studies import kept, results
from experiments.studies.study import Run, Standing, Study, standing
from rolemarl_jax import stops

Execute = Callable[[Sequence[str]], int]


class Conducted(NamedTuple):
    """What became of a study's runs.

    Attributes:
        failed: folders of runs that failed or are damaged; the others went on.
        stopped: whether somebody asked to stop; the rest was not begun.
    """

    failed: list[Path]
    stopped: bool


def train(arguments: Sequence[str]) -> int:
    """Runs ``experiments.run`` in a process of its own, which owns the devices.

    Args:
        arguments: of ``experiments.run``.

    Returns:
        Its exit status.
    """
    command = [sys.executable, "-m", "experiments.run", *arguments]
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                # It saves itself. Of Ctrl-C the terminal has told it as well.
                number = stops.status() - 128
                if number != signal.SIGINT or not os.isatty(0):
                    child.send_signal(number)


def conduct(
    name: str,
    study: Study,
    planned: Sequence[Run],
    wanted: Sequence[Run],
    docs: Path,
    execute: Execute,
    tell: Callable[[str], None],
) -> Conducted:
    """Runs what has not finished; tables are written after each run.

    Args:
        name: of the study.
        study: its text and measure.
        planned: all of its runs. wanted: those to be made now.
        docs: folder of ``results.md``.
        execute: trains one run from its command line and returns an exit status.
        tell: is given a line before the first run, and one before each.

    Raises:
        ConfigError: a folder holds a run of another configuration; none was begun.
    """
    before = [standing(run) for run in wanted]
    tell(f"{study.title}: {_counts(before)}")
    failed: list[Path] = []
    for number, (run, now) in enumerate(zip(wanted, before, strict=True), 1):
        if now.stage == "finished":
            kept.keep(run)
            continue
        stops.check()
        if now.stage == "broken":
            tell(f"[{number}/{len(wanted)}] {run.folder} is left out: {now.why}")
            failed.append(run.folder)
            continue
        tell(f"[{number}/{len(wanted)}] {run.folder}")
        status = execute(now.arguments)
        if not status:
            kept.keep(run)
        results.write(docs, name, study, planned)
        if status in stops.STATUSES:
            return Conducted(failed, stopped=True)
        if status:
            failed.append(run.folder)
    return Conducted(failed, stopped=False)


def _counts(before: Sequence[Standing]) -> str:
    """How many runs there are, and how far they are."""
    stages = [one.stage for one in before]
    finished, begun = stages.count("finished"), stages.count("begun")
    broken = f", {stages.count('broken')} damaged" if "broken" in stages else ""
    return f"{len(before)} runs, {finished} finished, {begun} begun{broken}"
