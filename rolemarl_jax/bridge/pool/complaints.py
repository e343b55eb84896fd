"""What went wrong with workers: the first failure of each kind is shown, and kept."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rolemarl_jax.bridge.pool.slots import KINDS, PRINTED, Slot, kind_of

MOST = 6000  # characters of one failure that are shown and kept
ALIKE = 3  # failures of each worker, alike, that end a run in which none made a step
ALIKE_LATER = KINDS  # and one in which a step was made


class Complaints:
    """Tells the first failure of each kind at once; counts those that follow.

    Attributes:
        counts: failures so far, by kind.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        """``tell`` shows a text to a person; on standard error by default."""
        self.counts: Counter[str] = Counter()
        self._tell = tell or _print
        self._file: Path | None = None
        self._unwritten: list[str] = []

    def heard(self, worker: int, reason: str, details: str = "") -> None:
        """A failure of a worker, with what it printed or where it raised."""
        kind = kind_of(reason)
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            self._first(f"worker {worker}: {reason}", details)

    def noticed(self, what: str, times: int = 1) -> None:
        """What is no failure of a worker yet and has happened so often; told once."""
        kind = kind_of(what)
        if not self.counts[kind]:
            self._first(what, "")
        self.counts[kind] = times

    def keep(self, path: Path) -> None:
        """From now on, and what was told already, is appended to a file."""
        self._file = path
        self._write()

    def _first(self, headline: str, details: str) -> None:
        text = _plain("\n".join(part for part in (headline, details.strip()) if part))
        self._tell(text)
        self._unwritten.append(text)
        if self._file is not None:
            self._write()

    def _write(self) -> None:
        """Nothing is created while nothing has failed."""
        if self._unwritten and self._file is not None:
            with self._file.open("a", encoding="utf8") as file:
                file.writelines(f"{text}\n\n" for text in self._unwritten)
            self._unwritten = []


def alike(slots: Sequence[Slot]) -> str:
    """The failure that ends all workers again and again, or nothing.

    Workers that no process ever joined do not count, and no world is given up that
    anybody has finished an episode in.
    """
    tried = [slot for slot in slots if slot.generation]
    if not tried or any(slot.episodes for slot in slots):
        return ""
    times = ALIKE_LATER if any(slot.stepped for slot in slots) else ALIKE
    last = [list(slot.kinds)[-times:] for slot in tried]
    same = {kind for kinds in last for kind in kinds}
    enough = all(len(kinds) == times for kinds in last)
    return (
        tried[0].reasons[-1].partition(PRINTED)[0] if enough and len(same) == 1 else ""
    )


def _plain(text: str) -> str:
    """Without what would move a terminal's cursor, and not endless."""
    clean = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    return clean if len(clean) <= MOST else f"{clean[:MOST]}\n[...]"


def _print(text: str) -> None:
    # Looked up now: a live display puts itself before the stream.
    print(f"{text}\n", file=sys.stderr, flush=True)
