"""One worker's place: what runs there, what it owes, and how often it failed."""

import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.process import Child

# States of a slot.
DOWN, STARTING, IDLE, BUSY, GONE = "down", "starting", "idle", "busy", "gone"
OPENING = 0  # id of an episode that nobody has asked for yet
HOUR = 3600.0
PRINTED = "; it printed: "
KINDS = 6  # last failures whose kind is remembered
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+(\.\d+)?")


def kind_of(reason: str) -> str:
    """What two failures have in common: the reason without its numbers."""
    return NUMBERS.sub("#", reason)


@dataclass
class Slot:
    """A worker's place; processes come and go.

    Attributes:
        index: of the slot.
        local: whether this learner starts its processes.
        pause: seconds before the next start.
        state: ``down`` (waits for ``start_at``), ``starting``, ``idle``, ``busy``
            (owes an answer by ``deadline``) or ``gone`` (given up).
        generation: counts processes.
        child: the present process, if this learner started it.
        peer: address of the present process.
        doing: what it was asked for, in words.
        asked_at: when, on the monotonic clock.
        deadline: of the answer that it owes, on the monotonic clock.
        settled: whether an episode was whole since its game was launched.
        start_at: of the next process, on the monotonic clock.
        episode: of the request that is open; 0 (``OPENING``) while there is none.
        step: steps of this episode so far.
        scale: divisor of its rewards, 0 if unknown.
        failures: times of the last hour, on the monotonic clock.
        info: what its processes said of themselves.
        seeds: given to its processes.
        reasons: of its last failures.
        kinds: of its last failures.
        opening: the first observation of a process that began its episode before
            anybody asked for one.
        stepped: whether one of its processes ever made a step.
        restarts: of processes, ever.
        aborts: episodes that were lost, ever.
        episodes: that were whole, ever.
    """

    index: int
    local: bool
    pause: float
    state: str = DOWN
    generation: int = 0
    child: Child | None = None
    peer: bytes | None = None
    doing: str = ""
    asked_at: float = 0.0
    deadline: float = 0.0
    settled: bool = False
    start_at: float = 0.0
    episode: int = 0
    step: int = 0
    scale: float = 0.0
    failures: deque[float] = field(default_factory=deque)
    info: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    kinds: deque[str] = field(default_factory=lambda: deque(maxlen=KINDS))
    opening: tuple[p.Header, p.Seen] | None = None
    stepped: bool = False
    restarts: int = 0
    aborts: int = 0
    episodes: int = 0

    def next_seed(self, experiment: int, since: int) -> int:
        """Another seed for each process of each worker of each experiment.

        Args:
            experiment: its seed.
            since: env steps of earlier learners; their workers had these seeds but for
                them, and would begin with the same games.
        """
        parts = [experiment, self.index, self.generation, since]
        seed = int(np.random.SeedSequence(parts).generate_state(1)[0] >> 2)
        self.seeds.append(seed)
        return seed

    def owes(self, seconds: float, state: str, doing: str) -> None:
        """An answer is due within ``seconds``."""
        self.state, self.doing = state, doing
        self.asked_at = time.monotonic()
        self.deadline = self.asked_at + seconds

    def failed(self, reason: str, log: str, cfg: BridgeConfig) -> bool:
        """Enters a failure into the books; says whether there were too many."""
        now = time.monotonic()
        self.failures.append(now)
        while self.failures and self.failures[0] < now - HOUR:
            self.failures.popleft()
        told = f"{reason}{PRINTED}{log}" if log else reason
        self.reasons = [*self.reasons[-4:], told]
        self.kinds.append(kind_of(reason))
        return len(self.failures) > cfg.restarts_per_hour

    def postpone(self, cfg: BridgeConfig) -> None:
        """Sets the next start; the pause after it will be twice as long."""
        self.state = DOWN
        self.start_at = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, cfg.backoff_max_s)

    def completed(self, cfg: BridgeConfig) -> None:
        """A whole episode: whatever was wrong has been mended."""
        self.episodes += 1
        self.settled = True
        self.pause = cfg.backoff_s

    def record(self) -> dict[str, Any]:
        """What the summary says of it."""
        return {
            "worker": self.index,
            "state": self.state,
            "episodes": self.episodes,
            "restarts": self.restarts,
            "aborts": self.aborts,
            "seeds": self.seeds,
            "last_failures": self.reasons,
            **self.info,
        }
