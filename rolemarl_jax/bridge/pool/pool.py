"""Workers as a learner uses them: asked for episodes and steps, answering when ready.

Nothing here blocks longer than it is told to, and nothing a worker does or fails to
do raises: its episode is reported as lost, and another process takes its place.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rolemarl_jax.bridge.config import BridgeConfig, check_bridge
from rolemarl_jax.bridge.pool.crew import Answer, Crew
from rolemarl_jax.bridge.pool.pace import BEGINNING, LAUNCHING, SAVING, STEPPING
from rolemarl_jax.bridge.pool.reception import Reception
from rolemarl_jax.bridge.pool.slots import BUSY, DOWN, IDLE, OPENING, STARTING, Slot
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import EnvSpec, Remote

TRIES = 3  # of each worker, before a run in which nobody can begin is refused


class PoolError(RuntimeError):
    """Too few workers are left, or none that can play."""


class Pool:
    """Workers of one learner.

    Attributes:
        spec: of the world that all of them play.
    """

    def __init__(
        self, cfg: BridgeConfig, world: Remote, seed: int, since: int = 0
    ) -> None:
        """Starts workers and waits until one of them has begun an episode.

        Args:
            cfg: of the bridge. world: that they play.
            seed: of the experiment.
            since: its env steps so far; workers that start later get other seeds.
        """
        check_bridge(cfg)
        self._cfg = cfg
        self._crew = Crew(cfg)
        self._reception = Reception(self._crew, world, seed, since)
        try:
            self._first_contact()
        except BaseException:
            self.close()
            raise
        self.spec: EnvSpec = self._reception.agreed.spec(world.name)

    @property
    def slots(self) -> list[Slot]:
        """Places of the workers."""
        return self._crew.slots

    @property
    def totals(self) -> Counter[str]:
        """Restarts, aborts and restarts of games, over all workers."""
        return self._crew.totals

    @property
    def live(self) -> int:
        """Workers that have not been given up."""
        return self._crew.live

    def idle(self) -> list[Slot]:
        """Workers that wait for a request."""
        return [slot for slot in self.slots if slot.state == IDLE]

    def prepare(self, index: int) -> None:
        """Asks for the beginning of an episode, to be the slot's ``opening``."""
        slot = self.slots[index]
        slot.episode, slot.step = OPENING, 0
        self._ask(slot, p.RESET, BEGINNING if slot.settled else LAUNCHING)

    def begin(self, index: int, episode: int) -> None:
        """Begins the episode that was prepared, with an id; answers what it shows."""
        slot = self.slots[index]
        if slot.opening is None:
            raise ValueError(f"worker {index} has prepared no episode")
        slot.episode = episode
        self._crew.answers.append(Answer(index, episode, *slot.opening))
        slot.opening = None

    def step(self, index: int, actions: np.ndarray) -> None:
        """Asks for one step of the episode in progress."""
        self._ask(self.slots[index], p.STEP, STEPPING, [p.actions_frame(actions)])

    def save_replay(self, index: int, folder: str) -> None:
        """Asks for a replay of the worker's game; the answer has its ``path``.

        A worker of another host does not see ``folder``: its answer brings the file.
        """
        slot = self.slots[index]
        frames = [p.text_frame({"folder": folder if slot.local else None})]
        self._ask(slot, p.REPLAY, SAVING, frames)

    def poll(self, timeout_s: float) -> list[Answer]:
        """Answers and losses, waiting at most ``timeout_s`` for the first.

        Raises:
            PoolError: fewer workers are left than ``bridge.min_workers``; or all fail
                in the same way.
            ConfigError: a worker cannot run for a reason that stays.
        """
        crew = self._crew
        for message in crew.link.receive(0.0 if crew.answers else timeout_s):
            self._reception.take(message)
        crew.watch()
        if crew.fatal:
            raise ConfigError(crew.fatal)
        if crew.live < max(1, self._cfg.min_workers):
            raise PoolError(crew.why())
        hopeless = crew.hopeless()
        if hopeless:
            raise PoolError(hopeless)
        answers, crew.answers = crew.answers, []
        return answers

    def completed(self, index: int) -> None:
        """Tells that a worker's episode was whole."""
        self.slots[index].completed(self._cfg)
        self.slots[index].episode = 0  # what fails from now on costs no episode

    def keep_complaints(self, path: Path) -> None:
        """Failures of workers are appended to a file, those of before included."""
        self._crew.complaints.keep(path)

    def record(self) -> dict[str, Any]:
        """What the summary says of the bridge."""
        return self._crew.record()

    def close(self) -> None:
        """Ends all workers and removes everything of theirs."""
        self._crew.close()

    def _first_contact(self) -> None:
        """Starts all workers, and waits until each has spoken and one has begun.

        Each begins an episode at once: that launches its game, and a world in which
        nobody can begin is refused before anything is written.
        """
        until = time.monotonic() + 2 * self._cfg.start_deadline_s
        while self._waiting(until):
            try:
                self.poll(0.05)
            except PoolError as error:
                raise ConfigError(f"no worker can play: {error}") from None
            for slot in self.idle():
                if slot.opening is None:
                    self.prepare(slot.index)

    def _waiting(self, until: float) -> bool:
        """Whether first contact goes on.

        Raises:
            ConfigError: nobody joined in time, or nobody can begin an episode.
        """
        local = [slot for slot in self.slots if slot.local]
        tired = [slot for slot in local if slot.restarts >= TRIES]
        in_time = time.monotonic() < until
        if any(slot.opening for slot in self.slots):
            late = any(s.state in (DOWN, STARTING) for s in local if s not in tired)
            return late and in_time
        last = self._crew.last_failure()
        if local and len(tired) == len(local):
            raise ConfigError(
                f"no worker can play: each failed {TRIES} times before it had begun an "
                f"episode. Last failure: {last}"
            )
        if not self._reception.agreed.said and not in_time:
            seconds = 2 * self._cfg.start_deadline_s
            raise ConfigError(f"no worker joined within {seconds:g} s: {last}")
        return True

    def _ask(
        self, slot: Slot, kind: int, doing: str, frames: list[bytes] | None = None
    ) -> None:
        if slot.state != IDLE or slot.peer is None:
            raise ValueError(f"worker {slot.index} is {slot.state}, not idle")
        seconds = self._crew.pace.allowed(doing)
        slot.owes(seconds, BUSY, doing)
        self._crew.send(
            slot, kind, frames, episode=slot.episode, step=slot.step, seconds=seconds
        )
