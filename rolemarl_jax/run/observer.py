"""What a run tells the outside, and how it is asked to stop."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from rolemarl_jax.members import Row
from rolemarl_jax.program.compiled import Footprint


@dataclass(frozen=True)
class RunHeader:
    """What is known of a run before its first leg.

    Attributes:
        device: kind and platform, and how many devices or workers there are.
        footprint: of one seed.
        compile_seconds: of all programs.
        store: what replay keeps, ``packed`` or ``observations``.
        resumed_at: env steps, 0 for a new run.
        note: empty, or what a resumed run had to put up with, and surplus seeds.
    """

    device: str
    footprint: Footprint
    compile_seconds: float
    store: str
    resumed_at: int
    note: str


@dataclass(frozen=True)
class LegReport:
    """Where a run is after a leg; rates are of this process, without compilation.

    Attributes:
        seconds: spent in legs.
        steps_done: env steps of this process, over all seeds.
        updates_done: updates of this process, over all seeds.
        rows: newest rows, one a seed and split.
    """

    seconds: float
    steps_done: int
    updates_done: int
    rows: list[Row]


@dataclass(frozen=True)
class Observer:
    """What a run tells the outside, from the host.

    Attributes:
        started: once, before the first leg.
        moved: after each leg.
        stopping: when the run was asked to stop, which it does after the leg.
    """

    started: Callable[[RunHeader], None]
    moved: Callable[[LegReport], None]
    stopping: Callable[[], None] = lambda: None


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and is saved."""


class StoppedError(RuntimeError):
    """A run that saved itself and ended early; says why."""


def device_name() -> str:
    """Kind and platform of the device that computes."""
    device = jax.devices()[0]
    return f"{device.device_kind} ({device.platform})"
