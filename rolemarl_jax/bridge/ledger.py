"""What a run over the bridge has done, earlier processes included."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rolemarl_jax.members import Row
from rolemarl_jax.run.observer import LegReport


@dataclass
class Ledger:
    """Counts of a run, and its clock.

    Attributes:
        env_steps: of finished training episodes.
        episodes: training episodes that began.
        seconds: that earlier processes took.
        earlier: restarts and aborts of earlier processes, by name.
        owes_test: whether the evaluation that is due has not been played whole.
    """

    env_steps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    earlier: Mapping[str, int] = field(default_factory=dict)
    owes_test: bool = False
    _began: float = field(init=False, default_factory=time.monotonic)
    _steps_before: int = field(init=False, default=0)
    _updates_before: int = field(init=False, default=0)

    def start(self, updates: int) -> None:
        """The clock and rates of this process begin now, after compilation.

        Args:
            updates: made before.
        """
        self._began = time.monotonic()
        self._steps_before, self._updates_before = self.env_steps, updates

    def wall_s(self) -> float:
        """Seconds that the run has taken, without compilation."""
        return self.seconds + time.monotonic() - self._began

    def totals(self, now: Mapping[str, int]) -> dict[str, int]:
        """Restarts and aborts ever, of those of this process."""
        return {name: now[name] + self.earlier.get(name, 0) for name in now}

    def report(self, updates: int, rows: list[Row]) -> LegReport:
        """Where the run is, with ``updates`` made by all processes."""
        return LegReport(
            seconds=max(time.monotonic() - self._began, 1e-6),
            steps_done=self.env_steps - self._steps_before,
            updates_done=updates - self._updates_before,
            rows=rows,
        )
