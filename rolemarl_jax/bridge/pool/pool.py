"""Workers as a learner uses them: asked for episodes and steps, answering when ready.

Nothing here blocks longer than it is told to, and nothing a worker does or fails to
do raises: its episode is reported as lost, and another process takes its place.
"""

import time
from collections import Counter
from typing import Any

import numpy as np

from rolemarl_jax.bridge.config import BridgeConfig, check_bridge
from rolemarl_jax.bridge.pool.crew import Answer, Crew
from rolemarl_jax.bridge.pool.reception import Reception
from rolemarl_jax.bridge.pool.slots import BUSY, DOWN, IDLE, STARTING, Slot
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import EnvSpec, Remote

TRIES = 3  # starts of each worker before a run that has none yet is refused


class PoolError(RuntimeError):
    """Too few workers are left."""


class Pool:
    """Workers of one learner.

    Attributes:
        spec: of the world that all of them play.
    """

    def __init__(self, cfg: BridgeConfig, world: Remote, seed: int) -> None:
        check_bridge(cfg)
        self._cfg = cfg
        self._crew = Crew(cfg)
        self._reception = Reception(self._crew, world, seed)
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

    def reset(self, index: int, episode: int) -> None:
        """Asks for a new episode with an id."""
        slot = self.slots[index]
        slot.episode, slot.step = episode, 0
        self._ask(slot, p.RESET, self._cfg.reset_deadline_s)

    def step(self, index: int, actions: np.ndarray) -> None:
        """Asks for one step of the episode in progress."""
        frames = [p.actions_frame(actions)]
        self._ask(self.slots[index], p.STEP, self._cfg.step_deadline_s, frames)

    def save_replay(self, index: int, folder: str) -> None:
        """Asks for a replay of the worker's game; the answer has its ``path``."""
        frames = [p.text_frame({"folder": folder})]
        self._ask(self.slots[index], p.REPLAY, self._cfg.reset_deadline_s, frames)

    def poll(self, timeout_s: float) -> list[Answer]:
        """Answers and losses, waiting at most ``timeout_s`` for the first.

        Raises:
            PoolError: fewer workers are left than ``bridge.min_workers``.
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
        answers, crew.answers = crew.answers, []
        return answers

    def completed(self, index: int) -> None:
        """Tells that a worker's episode was whole."""
        self.slots[index].completed(self._cfg)
        self.slots[index].episode = 0  # what fails from now on costs no episode

    def record(self) -> dict[str, Any]:
        """What the summary says of the bridge."""
        return self._crew.record()

    def close(self) -> None:
        """Ends all workers and removes everything of theirs."""
        self._crew.close()

    def _first_contact(self) -> None:
        """Starts all workers and waits until each has spoken or failed for good."""
        agreed = self._reception.agreed
        until = time.monotonic() + 2 * self._cfg.start_deadline_s
        waiting = True
        while waiting and time.monotonic() < until:
            try:
                self.poll(0.05)
            except PoolError as error:
                raise ConfigError(f"no worker could be started: {error}") from None
            young = [s for s in self.slots if s.local or not agreed.said]
            waiting = any(slot.state in (DOWN, STARTING) for slot in young)
            tries = [slot.restarts for slot in self.slots if slot.local]
            if not agreed.said and tries and min(tries) >= TRIES:
                break
        if not agreed.said:
            raise ConfigError(f"no worker could be started: {self._crew.why()}")

    def _ask(
        self, slot: Slot, kind: int, seconds: float, frames: list[bytes] | None = None
    ) -> None:
        if slot.state != IDLE or slot.peer is None:
            raise ValueError(f"worker {slot.index} is {slot.state}, not idle")
        slot.owes(seconds, BUSY)
        self._crew.send(slot, kind, frames, episode=slot.episode, step=slot.step)
