"""Runs what is missing of a study, and keeps its tables up to date meanwhile."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.studies import kept, results
from experiments.studies.processes import Start, Task, side_by_side
from experiments.studies.study import Piece, Run, Standing, standing
from rolemarl_jax import stops


class Conducted(NamedTuple):
    """What became of a study's runs.

    Attributes:
        failed: folders of runs that failed or are damaged; the others went on.
        stopped: whether somebody asked to stop; the rest was not begun.
    """

    failed: list[Path]
    stopped: bool


def conduct(
    piece: Piece,
    wanted: Sequence[Run],
    start: Start,
    jobs: int,
    tell: Callable[[str], None],
) -> Conducted:
    """Runs what has not finished; tables are written after each run.

    Args:
        piece: the study.
        wanted: those of its runs that are to be made now.
        start: begins a run.
        jobs: how many runs at once.
        tell: is given a line before the first run, and one before each.

    Raises:
        ConfigError: a folder holds a run of another configuration; none was begun.
    """
    before = [standing(run) for run in wanted]
    tell(f"{piece.study.title}: {_counts(before)}")
    failed, tasks = list[Path](), list[Task]()
    for number, (run, now) in enumerate(zip(wanted, before, strict=True), 1):
        label = f"[{number}/{len(wanted)}] {run.folder}"
        if now.stage == "finished":
            kept.keep(run)
        elif now.stage == "broken":
            tell(f"{label} is left out: {now.why}")
            failed.append(run.folder)
        else:
            tasks.append(Task(label, run, now.arguments))
    stopped = False
    for task, status in side_by_side(tasks, start, jobs, tell):
        if not status:
            kept.keep(task.run)
        results.write(piece)
        if status in stops.STATUSES:
            stopped = True
        elif status:
            failed.append(task.run.folder)
    if not stopped:
        stops.check()  # asked to, and those that ran had just finished
    return Conducted(failed, stopped)


def _counts(before: Sequence[Standing]) -> str:
    """How many runs there are, and how far they are."""
    stages = [one.stage for one in before]
    finished, begun = stages.count("finished"), stages.count("begun")
    broken = f", {stages.count('broken')} damaged" if "broken" in stages else ""
    return f"{len(before)} runs, {finished} finished, {begun} begun{broken}"
