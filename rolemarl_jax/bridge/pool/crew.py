"""Supervision: processes are started, watched by deadlines, and replaced.

Nothing here blocks, and nothing a worker does or fails to do raises: its episode is
reported as lost, and another process takes its place.
"""

import shutil
import time
from collections import Counter
from typing import Any, NamedTuple

from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.pool.link import Link
from rolemarl_jax.bridge.pool.slots import BUSY, DOWN, GONE, IDLE, STARTING, Slot
from rolemarl_jax.bridge.worker import process
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.launch import UNFIT
from rolemarl_jax.config import ConfigError


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        slot: of the worker.
        episode: id.
        header: of the answer, or ``None`` where the episode was lost.
        seen: of the answer, or ``None`` where the episode was lost.
        path: of a saved replay.
    """

    slot: int
    episode: int
    header: p.Header | None
    seen: p.Seen | None
    path: str = ""


class Crew:
    """The processes of one learner, and the socket that they speak to.

    Attributes:
        cfg: of the bridge.
        session: folder of socket and workers.
        link: the socket.
        slots: places of the workers.
        answers: that nobody has taken yet.
        totals: restarts, aborts and restarts of games, over all slots.
        fatal: why no worker can run, for a reason that stays; else empty.
    """

    def __init__(self, cfg: BridgeConfig) -> None:
        self.cfg = cfg
        self.session = process.session_folder()
        try:
            self.link = Link(cfg, self.session)
        except ConfigError:
            shutil.rmtree(self.session, ignore_errors=True)
            raise
        local = cfg.workers - cfg.remote
        self.slots = [
            Slot(i, local=i < local, pause=cfg.backoff_s) for i in range(cfg.workers)
        ]
        self.answers: list[Answer] = []
        self.totals: Counter[str] = Counter(restarts=0, aborts=0, game_restarts=0)
        self.fatal = ""
        self._by_peer: dict[bytes, Slot] = {}

    @property
    def live(self) -> int:
        """Workers that have not been given up."""
        return sum(slot.state != GONE for slot in self.slots)

    def seat(self, slot: Slot, peer: bytes) -> None:
        """From now on this process speaks for the slot."""
        slot.peer = peer
        self._by_peer[peer] = slot

    def seated(self, peer: bytes, generation: int) -> Slot | None:
        """The slot that a process speaks for, if it still does."""
        slot = self._by_peer.get(peer)
        return slot if slot is not None and slot.generation == generation else None

    def send(
        self,
        slot: Slot,
        kind: int,
        frames: list[bytes] | None = None,
        *,
        episode: int = 0,
        step: int = 0,
    ) -> None:
        """Sends to the slot's process, if there is one."""
        if slot.peer is not None:
            head = p.Header(
                kind, slot.index, slot.generation, episode=episode, step=step
            )
            self.link.send(slot.peer, head, frames)

    def watch(self) -> None:
        """Deadlines, processes that died, and starts that are due."""
        now = time.monotonic()
        for slot in self.slots:
            busy = slot.state in (STARTING, BUSY)
            if slot.state in (DOWN, GONE):
                if slot.state == DOWN and slot.local and now >= slot.start_at:
                    self._start(slot)
            elif slot.child is not None and not slot.child.alive():
                if slot.child.process.returncode == UNFIT:
                    self.fatal = f"bridge.python: {slot.child.log()}"
                self.fail(slot, f"worker process ended: {slot.child.how()}")
            elif busy and now > slot.deadline:
                self.fail(slot, f"no answer in time while {slot.state}")

    def fail(self, slot: Slot, reason: str) -> None:
        """Ends a worker's process, reports its episode as lost, plans a restart."""
        log = slot.child.log() if slot.child else ""
        self._drop(slot)
        self.totals["restarts"] += 1
        slot.restarts += 1
        slot.scale = 0.0
        if slot.episode:
            self._lose(slot)
        if slot.failed(f"{reason}; it printed: {log}" if log else reason, self.cfg):
            self._give_up(slot)
        else:
            slot.postpone(self.cfg)

    def aborted(self, slot: Slot) -> None:
        """The game was lost but the worker lives; it restarted the game itself."""
        self.totals["game_restarts"] += 1
        self._lose(slot)
        if slot.failed("the game was lost in mid-episode", self.cfg):
            self._give_up(slot)

    def why(self) -> str:
        """Why too few workers are left."""
        lost = sorted(self.slots, key=lambda slot: slot.state != GONE)
        reasons = (s.reasons[-1] for s in lost if s.reasons)
        last = next(reasons, self.link.strangers())
        return (
            f"{self.live} of {len(self.slots)} workers are left, fewer than "
            f"bridge.min_workers={self.cfg.min_workers}; each may fail "
            f"{self.cfg.restarts_per_hour} times an hour. Last failure: {last}"
        )

    def record(self) -> dict[str, Any]:
        """What the summary says of the workers."""
        return {
            **dict(self.totals),
            "refused_messages": dict(self.link.refused),
            "workers": [slot.record() for slot in self.slots],
        }

    def close(self) -> None:
        """Ends all workers and removes everything of theirs."""
        for slot in self.slots:
            self.send(slot, p.CLOSE)
        until = time.monotonic() + 3.0
        children = [slot.child for slot in self.slots if slot.child is not None]
        quiet = all(slot.state in (IDLE, GONE, DOWN) for slot in self.slots)
        while quiet and any(c.alive() for c in children) and time.monotonic() < until:
            time.sleep(0.02)
        for child in children:
            child.kill()
        self.link.close()
        shutil.rmtree(self.session, ignore_errors=True)

    def _start(self, slot: Slot) -> None:
        slot.generation += 1
        arguments = ["--connect", self.link.endpoint, "--slot", str(slot.index)]
        arguments += ["--generation", str(slot.generation)]
        if self.cfg.key_file:
            arguments += ["--key-file", self.cfg.key_file]
        name = f"worker-{slot.index}-{slot.generation}"
        slot.child = process.start(
            self.cfg.python, arguments, self.session, name, self.link.secret
        )
        slot.owes(self.cfg.start_deadline_s, STARTING)

    def _lose(self, slot: Slot) -> None:
        """The episode in progress is void."""
        self.totals["aborts"] += 1
        slot.aborts += 1
        self.answers.append(Answer(slot.index, slot.episode, None, None))
        slot.episode = 0

    def _drop(self, slot: Slot) -> None:
        """Kills the process, if there is one, and forgets its address."""
        self.send(slot, p.CLOSE)
        if slot.peer is not None:
            self._by_peer.pop(slot.peer, None)
            slot.peer = None
        if slot.child is not None:
            slot.child.kill()
            slot.child = None

    def _give_up(self, slot: Slot) -> None:
        self._drop(slot)
        slot.state = GONE
