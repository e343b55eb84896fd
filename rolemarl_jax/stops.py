"""How a process is asked to stop: SIGINT and SIGTERM, from its first line to its last.

Of the standard library alone, so that a command hears them before it imports anything
that takes time. While a command starts, a signal raises ``KeyboardInterrupt`` and is
remembered: an exception that comes up in a callback of some library is printed and
lost there, and ``check`` raises it again. While a run trains, a signal is a flag.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What a command ends with that was asked to stop, 130 and 143, and what `subprocess`
# calls it where that happened before its first line.
STATUSES = (*(128 + number for number in SIGNALS), *(-number for number in SIGNALS))
IMPORTING = "<frozen importlib._bootstrap>"  # file of the code that imports modules
CALLBACKS = ("_xla_gc_callback", "__del__")  # where an exception is printed and lost
AGAIN_S = 0.05

_asked: list[int] | None = None  # signals that the command has got; None without one


def obeyed(action: Callable[[], None]) -> None:
    """Runs a command, which ends at once where it was asked to stop.

    ``KeyboardInterrupt`` ends the process as it is: Python's way out would wait for
    what is being computed. Blocks that it leaves on its way here are cleaned up.
    """
    with _heard():
        try:
            action()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status())


def status() -> int:
    """Exit status that tells which signal it was: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_asked[0] if _asked else signal.SIGINT)


def check() -> None:
    """Where a command was asked to stop and goes on all the same, stops it.

    Raises:
        KeyboardInterrupt: it was.
    """
    if _asked:
        raise KeyboardInterrupt


@contextmanager
def requests(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a flag; a second one acts as before.

    Args:
        tell: called at the first one.

    Raises:
        KeyboardInterrupt: there was one earlier in this command.
    """
    flagged: list[int] = []
    before: dict[int, Any] = {}

    def request(number: int, _: Any) -> None:
        flagged.append(number)
        _remember(number)
        signal.signal(number, before[number])
        tell()

    with _handled(request, before):
        if not flagged:
            check()
        yield lambda: bool(flagged)


@contextmanager
def _heard() -> Iterator[None]:
    """A command: its signals are remembered until the outermost block is left."""
    global _asked
    if _asked is not None:
        yield
        return
    _asked = []
    try:
        with _handled(_interrupt, {}):
            yield
    finally:
        _asked = None


def _remember(number: int) -> None:
    if _asked is not None:
        _asked.append(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises, or comes once more a bit later where an exception would do harm.

    Extensions of XLA call Python when they are loaded, and abort the process where an
    exception comes up.
    """
    _remember(number)
    if not _fragile(frame):
        raise KeyboardInterrupt
    again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _fragile(frame: FrameType | None) -> bool:
    """Whether one of the calls that a frame is in imports a module or is a callback."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename == IMPORTING or code.co_name in CALLBACKS:
            return True
        frame = frame.f_back
    return False


@contextmanager
def _handled(handler: Any, before: dict[int, Any]) -> Iterator[None]:
    """Both signals in the hands of a handler; ``before`` is told who had them."""
    # Only the main thread may do this; in others, whoever has it hears them.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # First, for a signal may come between two lines.
    before.update({number: signal.getsignal(number) for number in SIGNALS})
    try:
        for number in SIGNALS:
            signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
