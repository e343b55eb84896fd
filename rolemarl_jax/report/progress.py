"""What a person sees while a run goes on: a header, live lines, a closing block.

On a terminal the line is redrawn in place; elsewhere (a file, a batch job) plain
lines are printed, at most one every ``PLAIN_EVERY`` seconds.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

PLAIN_EVERY = 10.0  # seconds
WINDOW = 20  # segments over which speed is averaged
BAR_WIDTH = 40
REDRAWS = 2  # a second, of the live line


class Outcome(NamedTuple):
    """What episodes of one kind came to, one number a seed; NaN if unknown.

    Attributes:
        env_steps: of one seed, when they were played.
        returns: `[seeds]`.
        win_rates: `[seeds]`; empty where nothing was ever won.
    """

    env_steps: int = 0
    returns: Sequence[float] = ()
    win_rates: Sequence[float] = ()


class Status(NamedTuple):
    """Where a run stands after a segment.

    Attributes:
        stage: ``warmup``, ``pretrain``, ``train``, with a chunk if there are several.
        env_steps: of one seed, so far.
        total_steps: env steps of one seed in the end.
        updates: of one seed.
        seeds: that run together.
        exploring: episodes of training, the latest.
        greedy: the latest evaluation, which explores nothing.
        frozen: how many have diverged and learn no more.
        unit: what the seeds are called (members, where hyper-parameters are swept).
    """

    stage: str
    env_steps: int
    total_steps: int
    updates: int
    seeds: int
    exploring: Outcome = Outcome()
    greedy: Outcome = Outcome()
    frozen: int = 0
    unit: str = "seeds"


@dataclass(frozen=True)
class Display:
    """What shows a run to a person.

    Attributes:
        header: ``(title, facts)``, printed before the run; without a title, more facts.
        waiting: ``(what)``, before the first segment: what takes so long.
        update: ``(Status)``, after each segment.
        note: ``(text)``, a line that stays: a checkpoint, a warning.
        close: ``(places)``, the closing block; the last call, also after an error (with
            nothing to say), so that the terminal is left in order.
    """

    header: Callable[[str, Mapping[str, str]], None]
    waiting: Callable[[str], None]
    update: Callable[[Status], None]
    note: Callable[[str], None]
    close: Callable[[Mapping[str, str]], None]


def make(
    stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Display:
    """Display on ``stream`` (standard output), live if that is a terminal."""
    out = stream or sys.stdout
    return _live(out, clock) if out.isatty() else _plain(out, clock)


def silent() -> Display:
    """Display that shows nothing."""
    return Display(
        lambda title, facts: None,
        lambda what: None,
        lambda status: None,
        lambda text: None,
        lambda places: None,
    )


def _plain(out: TextIO, clock: Callable[[], float]) -> Display:
    """Lines for a file: the first, the last, and one now and then."""
    speed = _speedometer(clock)
    printed = [-PLAIN_EVERY, ""]  # when, and the stage that it showed

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    def update(status: Status) -> None:
        rate, now = speed(status), clock()
        last = status.env_steps >= status.total_steps
        if last or now - printed[0] >= PLAIN_EVERY or status.stage != printed[1]:
            printed[:] = [now, status.stage]
            share = f"{status.env_steps / max(1, status.total_steps):4.0%}"
            say(f"{share}  {'  '.join(_facts(status, rate))}")

    return Display(
        lambda title, facts: say(_block(title, facts)),
        lambda what: say(f"{what} ..."),
        update,
        say,
        lambda places: say(_closing(places)),
    )


def _live(out: TextIO, clock: Callable[[], float]) -> Display:
    """A bar that is redrawn in place, with what is known below it."""
    console = Console(file=out, highlight=False)
    shown: list[Callable[[], RenderableType]] = [lambda: Text("")]
    # Redrawn by a thread, so that the seconds go on while XLA compiles.
    live = Live(
        console=console,
        get_renderable=lambda: shown[0](),
        refresh_per_second=REDRAWS,
        transient=False,
    )
    speed = _speedometer(clock)

    def show(made: Callable[[], RenderableType]) -> None:
        shown[0] = made
        if not live.is_started:
            live.start()
        live.refresh()

    def waiting(what: str) -> None:
        since = clock()
        show(lambda: Text(f"{what} ... {duration(clock() - since)}"))

    def update(status: Status) -> None:
        facts = _facts(status, speed(status))
        bar = ProgressBar(status.total_steps, status.env_steps, width=BAR_WIDTH)
        group = Group(Padding(bar, 0), Text("\n".join(facts)))
        show(lambda: group)

    def close(places: Mapping[str, str]) -> None:
        live.stop()
        console.print(Text(_closing(places)), soft_wrap=True)

    return Display(
        lambda title, facts: console.print(Text(_block(title, facts)), soft_wrap=True),
        waiting,
        update,
        lambda text: console.print(Text(text), soft_wrap=True),
        close,
    )


class _Rate(NamedTuple):
    """Speeds over the last segments, all seeds together; NaN at first."""

    steps: float  # env steps a second
    updates: float  # learner updates a second
    left: float  # seconds to the end


def _speedometer(clock: Callable[[], float]) -> Callable[[Status], _Rate]:
    """Speed over a window of segments; a new stage begins a new window."""
    seen: deque[tuple[float, Status]] = deque(maxlen=WINDOW)

    def speed(status: Status) -> _Rate:
        if seen and seen[-1][1].stage != status.stage:
            seen.clear()
        seen.append((clock(), status))
        seconds = seen[-1][0] - seen[0][0]
        first = seen[0][1]
        if seconds <= 0 or status.env_steps <= first.env_steps:
            return _Rate(np.nan, np.nan, np.nan)
        steps = (status.env_steps - first.env_steps) / seconds
        updates = (status.updates - first.updates) / seconds
        left = (status.total_steps - status.env_steps) / steps
        return _Rate(steps * status.seeds, updates * status.seeds, left)

    return speed


def _facts(status: Status, rate: _Rate) -> list[str]:
    """Lines under the bar: where, how fast, how well."""
    steps = f"{status.env_steps:,}/{status.total_steps:,} steps"
    count = f"{steps} x {status.seeds} {status.unit}"
    speed: list[str] = []
    if np.isfinite(rate.steps):
        speed = [
            f"{rate.steps:,.0f} env steps/s",
            f"{rate.updates:,.1f} updates/s",
            f"{duration(rate.left)} left",
        ]
    now = [f"{status.frozen} diverged"] if status.frozen else []
    results = [_outcome("exploring", status.exploring)]
    if status.greedy.env_steps:
        at = f"greedy evaluation at {status.greedy.env_steps:,}"
        results.append(_outcome(at, status.greedy))
    parts = ([status.stage, count, *now], speed)
    return [line for line in (*("  ".join(part) for part in parts), *results) if line]


def _outcome(kind: str, found: Outcome) -> str:
    """What episodes came to, and of which kind they are; empty if unknown."""
    told = []
    if wins := _spread(found.win_rates, "{:.0%}"):
        told.append(f"win rate {wins}")
    if returns := _spread(found.returns, "{:.2f}"):
        told.append(f"return {returns}")
    return f"{kind}: {'  '.join(told)}" if told else ""


def _spread(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation over seeds, empty where nothing is known."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not known.size:
        return ""
    mean = form.format(known.mean())
    return f"{mean} ± {form.format(known.std())}" if known.size > 1 else mean


def _block(title: str, facts: Mapping[str, str]) -> str:
    """A title and aligned lines below it."""
    width = max(map(len, facts), default=0)
    lines = [f"  {k:<{width}}  {v}" for k, v in facts.items()]
    return "\n".join([title, *lines] if title else lines)


def _closing(places: Mapping[str, str]) -> str:
    """Where everything is."""
    return _block("Written:", places) if places else ""


def duration(seconds: float) -> str:
    """``45s``, ``3m20s``, ``2h05m`` or ``1d02h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: float, unit: str = "B") -> str:
    """``512 B``, ``1.5 MiB``: a number of bytes, in powers of 1024."""
    for prefix in ("", "Ki", "Mi", "Gi"):
        if count < 1024:
            return f"{count:.{0 if not prefix else 1}f} {prefix}{unit}"
        count /= 1024
    return f"{count:.1f} Ti{unit}"
