"""How long answers may take: what is configured, and less once it has been measured."""

from collections import Counter

from rolemarl_jax.bridge.config import BridgeConfig

# What a worker is asked for, in words that are told.
LAUNCHING = "launching its game and beginning an episode"
BEGINNING = "beginning an episode"
STEPPING = "making a step"
SAVING = "saving a replay"

ENOUGH = 20  # answers, after which the longest of them tells what is usual
TIMES = 10.0  # the longest so far
LAUNCHES = 3.0  # the longest launch so far: any request may find its game lost
LEAST_S = 10.0


class Pace:
    """Durations of answers over all workers, by what was asked for.

    They are those that workers tell, so a learner that is busy does not count.
    """

    def __init__(self, cfg: BridgeConfig) -> None:
        """The deadlines of the configuration are never exceeded."""
        self._configured = {
            LAUNCHING: cfg.reset_deadline_s,
            BEGINNING: cfg.reset_deadline_s,
            STEPPING: cfg.step_deadline_s,
            SAVING: cfg.reset_deadline_s,
        }
        self._longest = dict.fromkeys(self._configured, 0.0)
        self._count: Counter[str] = Counter()

    def took(self, doing: str, seconds: float) -> None:
        """An answer came after so long."""
        self._longest[doing] = max(self._longest[doing], seconds)
        self._count[doing] += 1

    def allowed(self, doing: str) -> float:
        """Seconds that the next answer may take."""
        configured = self._configured[doing]
        if doing == LAUNCHING or self._count[doing] < ENOUGH:
            return configured
        usual = TIMES * self._longest[doing], LAUNCHES * self._longest[LAUNCHING]
        return min(configured, max(LEAST_S, *usual))
