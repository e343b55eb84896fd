"""Measurements that are compiled side by side and made one after another.

Each is a process of its own, so that one that fails, runs out of memory or hangs costs
its own row and no other. Compiling takes the cores of a machine and measuring its
device: a wave of processes compiles, and then each of them has the device for itself.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

# Memory is taken as it is needed: a wave's processes share the device.
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
COMPILING = 0.65  # of the time that is left, which a wave may take until it is ready
Row = dict[str, Any]


class Part(NamedTuple):
    """One measurement.

    Attributes:
        labels: columns that say what is measured.
        measure: a function of a module; its generator compiles, yields once, measures
            and yields the other columns.
        arguments: of it.
    """

    labels: Row
    measure: Callable[..., Iterator[Row | None]]
    arguments: dict[str, Any]


class _Child(NamedTuple):
    part: Part
    process: BaseProcess
    pipe: Connection


def take_turns(
    parts: Iterable[Part], seconds: float, wave: int
) -> Iterator[tuple[Part, Row | str]]:
    """Rows in order, or why there is none.

    Args:
        seconds: after which nothing more is begun and what still runs is ended.
        wave: how many compile side by side.
    """
    until = time.monotonic() + seconds
    listed = list(parts)
    for first in range(0, len(listed), wave):
        group = listed[first : first + wave]
        if time.monotonic() >= until:
            yield from ((part, "not begun: no time left") for part in group)
            continue
        children = [_start(part) for part in group]
        try:
            yield from _wave(children, until)
        finally:
            for child in children:
                _end(child)


def _wave(children: list[_Child], until: float) -> Iterator[tuple[Part, Row | str]]:
    """All compile; those that are ready in time are measured."""
    now = time.monotonic()
    patience = COMPILING * (until - now)
    late = f"not compiled in {patience:.0f} s"
    said = [_hear(child, now + patience, late) for child in children]
    for child, word in zip(children, said, strict=True):
        if word is None:
            child.pipe.send("go")
            word = _hear(child, until, "not measured in the time that was left")
        yield child.part, word
        _end(child)


def _start(part: Part) -> _Child:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_work, args=(there, part), daemon=True
    )
    process.start()
    there.close()
    return _Child(part, process, here)


def _work(pipe: Connection, part: Part) -> None:
    """What a child does."""
    os.environ.update(ENVIRONMENT)
    try:
        steps = part.measure(**part.arguments)
        next(steps)
        pipe.send(None)
        pipe.recv()
        pipe.send(next(steps))
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        pipe.send(f"{type(error).__name__}: {lines[0]}")


def _hear(child: _Child, until: float, late: str) -> Any:
    """What a child says next: nothing when it is ready, a row, or why it failed."""
    try:
        if child.pipe.poll(max(0.0, until - time.monotonic())):
            return child.pipe.recv()
    except EOFError:
        child.process.join()
        return f"its process ended with status {child.process.exitcode}"
    _end(child)
    return late


def _end(child: _Child) -> None:
    """Ends a child, whatever it does, so that its memory is free."""
    child.process.kill()
    child.process.join()
