"""Runs of a study side by side, each a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from experiments.studies.study import Run
from rolemarl_jax import stops

PAUSE_S = 0.1
# Memory of a card is taken as it is needed, for several runs share it.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class Child(Protocol):
    """A run that has begun (``subprocess.Popen``)."""

    def poll(self) -> int | None: ...  # noqa: D102
    def send_signal(self, sig: int, /) -> None: ...  # noqa: D102


class Task(NamedTuple):
    """A run that is to be made.

    Attributes:
        label: by which it is told of.
        run: of the study.
        arguments: of ``experiments.run``.
    """

    label: str
    run: Run
    arguments: tuple[str, ...]


Start = Callable[[Task], Child]


def starter(jobs: int) -> Start:
    """Begins runs: one at a time shows itself, several write beside their folders."""
    return _alone if jobs == 1 else _beside


def _command(task: Task) -> list[str]:
    return [sys.executable, "-m", "experiments.run", *task.arguments]


def _alone(task: Task) -> Child:
    return subprocess.Popen(_command(task))


def _beside(task: Task) -> Child:
    path = shown(task.run)
    path.parent.mkdir(parents=True, exist_ok=True)
    env = {**SHARED, **os.environ}
    with path.open("ab") as log:
        return subprocess.Popen(_command(task), stdout=log, stderr=log, env=env)


def shown(run: Run) -> Path:
    """File of what a run shows that is not alone."""
    return run.folder.with_name(f"{run.folder.name}.log")


def side_by_side(
    tasks: Sequence[Task], start: Start, jobs: int, tell: Callable[[str], None]
) -> Iterator[tuple[Task, int]]:
    """Tasks and their exit statuses, in the order in which they end.

    Where this process is asked to stop, or one of the runs was, all are, and no more
    are begun.

    Args:
        jobs: how many at once.
        tell: is given a line before each begins, and after it where there are several.

    Raises:
        KeyboardInterrupt: asked to stop while none was running.
    """
    waiting, live, stopping = deque(tasks), dict[Task, Child](), False
    while waiting or live:
        try:
            _fill(waiting, live, start, jobs, tell)
            ended = _ended(live)
        except KeyboardInterrupt:
            if not live:
                raise
            # Runs save themselves. Of Ctrl-C the terminal has told them as well.
            number = stops.status() - 128
            if number != signal.SIGINT or not os.isatty(0):
                _stop(live.values(), number)
            waiting.clear()
            stopping = True
            continue
        for task, status in ended:
            del live[task]
            if jobs > 1:
                tell(f"{task.label}: {_became(task, status)}")
            if status in stops.STATUSES and not stopping:
                _stop(live.values(), signal.SIGTERM)
                waiting.clear()
                stopping = True  # a second signal would end them unsaved
            yield task, status


def _fill(
    waiting: deque[Task],
    live: dict[Task, Child],
    start: Start,
    jobs: int,
    tell: Callable[[str], None],
) -> None:
    """Begins as many as may be."""
    while waiting and len(live) < jobs:
        stops.check()
        task = waiting.popleft()
        tell(task.label)
        live[task] = start(task)


def _ended(live: dict[Task, Child]) -> list[tuple[Task, int]]:
    """Those that have ended, at least one: waits for it."""
    while True:
        polled = [(task, child.poll()) for task, child in live.items()]
        ended = [(task, status) for task, status in polled if status is not None]
        if ended:
            return ended
        time.sleep(PAUSE_S)


def _stop(children: Iterable[Child], number: int) -> None:
    for child in children:
        child.send_signal(number)


def _became(task: Task, status: int) -> str:
    """What is told of a run that has ended."""
    if not status:
        return "finished"
    what = "stopped" if status in stops.STATUSES else f"failed, status {status}"
    return f"{what}; see {shown(task.run)}"
