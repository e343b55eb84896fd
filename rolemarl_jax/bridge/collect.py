"""Episodes out of answers that arrive in any order."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rolemarl_jax.bridge.acting import stack
from rolemarl_jax.bridge.pool.pool import Answer, Pool
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.types import Observation

# Seconds that a loop with nothing to do sleeps at most, so that deadlines, losses and
# stops are noticed.
IDLE_WAIT = 0.05


class Episode(NamedTuple):
    """A whole episode of L steps.

    Attributes:
        id: given when it began.
        worker: index of the slot that played it.
        obs: `[L+1, N, O]`.
        state: `[L+1, S]`.
        avail: available actions `[L+1, N, A]`.
        action: `[L, N]`.
        reward: of the team `[L]`.
        terminated: whether it ended by itself, not at the time limit.
        won: whether it ended in a win.
    """

    id: int
    worker: int
    obs: np.ndarray
    state: np.ndarray
    avail: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: bool
    won: bool

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.reward)


@dataclass
class Draft:
    """An episode in progress, t steps old.

    Attributes:
        id: given when it began.
        seen: observations, t + 1 of them.
        actions: `[N]` each, t or t + 1 of them.
        rewards: of the team, t of them.
    """

    id: int
    seen: list[p.Seen] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def whole(self, worker: int, flags: int) -> Episode:
        """The finished episode; arrays of its own."""
        return Episode(
            id=self.id,
            worker=worker,
            obs=np.stack([seen.obs for seen in self.seen]),
            state=np.stack([seen.state for seen in self.seen]),
            avail=np.stack([seen.avail for seen in self.seen]),
            action=np.stack(self.actions),
            reward=np.asarray(self.rewards, np.float32),
            terminated=bool(flags & p.TERMINATED),
            won=bool(flags & p.WON),
        )


@dataclass(frozen=True)
class Stretch:
    """What a stretch of playing is for.

    Attributes:
        more: whether another episode should begin.
        begin: ``() -> id`` of an episode that begins now.
        act: ``(Observation [W, ...], ready [W], fresh [W]) -> actions [W, N]``.
        finished: takes a whole episode.
        lost: takes the id of one that is void.
        turn: called between answers; must not block.
        stop: whether to end at once; episodes in progress are lost then.
    """

    more: Callable[[], bool]
    begin: Callable[[], int]
    act: Callable[[Observation, np.ndarray, np.ndarray], np.ndarray]
    finished: Callable[[Episode], None]
    lost: Callable[[int], None]
    turn: Callable[[], None]
    stop: Callable[[], bool] = lambda: False


class Collector:
    """Plays episodes on all workers of a pool."""

    def __init__(self, pool: Pool, max_wait_s: float) -> None:
        self._pool, self._max_wait = pool, max_wait_s
        workers = len(pool.slots)
        self._seen = stack(pool.spec, workers)
        self._drafts: dict[int, Draft] = {}
        self._ready = np.zeros(workers, bool)

    def play(self, stretch: Stretch) -> None:
        """Plays until no more episodes should begin and all have ended, or to a stop.

        Raises:
            PoolError: too few workers are left.
        """
        since = 0.0
        while self._drafts or stretch.more():
            if stretch.stop():
                self._leave(stretch)
                return
            self._begin(stretch)
            waited = time.monotonic() - since
            count = int(self._ready.sum())
            left = self._max_wait - waited if count else IDLE_WAIT
            if count and (count == len(self._drafts) or left <= 0):
                self._act(stretch)
                continue
            for answer in self._pool.poll(min(left, IDLE_WAIT)):
                self._take(stretch, answer)
            if not count and self._ready.any():
                since = time.monotonic()
            stretch.turn()

    def _begin(self, stretch: Stretch) -> None:
        """Episodes of workers that have prepared one; the others are asked to.

        So a worker that takes long, or never comes back from a reset, holds up nobody:
        the next episode is played by whoever is ready first.
        """
        for slot in self._pool.idle():
            if slot.index in self._drafts or not stretch.more():
                continue
            if slot.opening is None:
                self._pool.prepare(slot.index)
                continue
            draft = Draft(stretch.begin())
            self._drafts[slot.index] = draft
            self._pool.begin(slot.index, draft.id)

    def _take(self, stretch: Stretch, answer: Answer) -> None:
        """One answer: an observation, an end, or a loss."""
        draft = self._drafts.get(answer.slot)
        if draft is None or draft.id != answer.episode:
            return  # of no episode that anybody waits for
        header, seen = answer.header, answer.seen
        if header is None or seen is None:
            self._forget(answer.slot)
            stretch.lost(draft.id)
            return
        draft.seen.append(seen)
        if header.step:
            draft.rewards.append(header.reward)
        if header.flags & (p.TERMINATED | p.TRUNCATED):
            self._forget(answer.slot)
            self._pool.completed(answer.slot)
            stretch.finished(draft.whole(answer.slot, header.flags))
            return
        for store, value in zip(self._seen, seen, strict=True):
            store[answer.slot] = value
        self._ready[answer.slot] = True

    def _act(self, stretch: Stretch) -> None:
        """One policy step for everybody who is ready."""
        ready = self._ready.copy()
        fresh = ready & np.array(
            [
                i in self._drafts and not self._drafts[i].actions
                for i in range(len(ready))
            ]
        )
        actions = stretch.act(self._seen, ready, fresh)
        for slot in np.flatnonzero(ready).tolist():
            self._drafts[slot].actions.append(actions[slot])
            self._pool.step(slot, actions[slot])
        self._ready[:] = False

    def _leave(self, stretch: Stretch) -> None:
        """Ends with episodes in progress; their workers owe answers still."""
        for slot, draft in list(self._drafts.items()):
            self._forget(slot)
            stretch.lost(draft.id)

    def _forget(self, slot: int) -> None:
        del self._drafts[slot]
        self._ready[slot] = False
