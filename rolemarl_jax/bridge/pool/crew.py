"""Supervision: processes are started, watched by deadlines, and replaced.

Nothing here blocks, and nothing a worker does or fails to do raises: its episode is
reported as lost, and another process takes its place.
"""

import shutil
import time
from collections import Counter
from typing import Any, NamedTuple

from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.pool.complaints import Complaints, alike
from rolemarl_jax.bridge.pool.link import Link
from rolemarl_jax.bridge.pool.pace import Pace
from rolemarl_jax.bridge.pool.slots import BUSY, DOWN, GONE, IDLE, STARTING, Slot
from rolemarl_jax.bridge.worker import process
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.launch import UNFIT
from rolemarl_jax.config import ConfigError

LATE_S = 8.0  # without an answer, after which that is told
SHOWN = 40  # lines that a worker printed, shown with its first failure of a kind


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        slot: of the worker.
        episode: id.
        header: of the answer, or ``None`` where the episode was lost.
        seen: of the answer, or ``None`` where the episode was lost.
        path: of a saved replay, on the worker's host.
        data: of a replay that came over the net.
    """

    slot: int
    episode: int
    header: p.Header | None
    seen: p.Seen | None
    path: str = ""
    data: bytes = b""


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
        complaints: what went wrong so far.
        pace: how long answers take.
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
        self.complaints = Complaints()
        self.pace = Pace(cfg)
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
        seconds: float = 0.0,
    ) -> None:
        """Sends to the slot's process, if there is one.

        Args:
            slot: of the worker.
            kind: of the message. frames: behind its header.
            episode: id. step: so far. seconds: that the answer may take.
        """
        if slot.peer is not None:
            head = p.Header(
                kind,
                slot.index,
                slot.generation,
                episode=episode,
                step=step,
                seconds=seconds,
            )
            self.link.send(slot.peer, head, frames)

    def watch(self) -> None:
        """Deadlines, processes that died, and starts that are due."""
        for peer in self.link.lost:
            slot = self._by_peer.get(peer)
            if slot is not None and not slot.local:
                self.fail(slot, f"its connection ended{_where(slot)}")
        self.link.lost = []
        for reason, count in self.link.refused.items():
            self.complaints.noticed(f"somebody was refused: {reason}", count)
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
                allowed = slot.deadline - slot.asked_at
                self.fail(slot, f"no answer within {allowed:.3g} s while {slot.doing}")
            elif busy and now > slot.asked_at + LATE_S:
                allowed = slot.deadline - slot.asked_at
                self.complaints.noticed(
                    f"worker {slot.index} has been {slot.doing} for {LATE_S:g} s; it "
                    f"may take {allowed:.3g} s"
                )

    def fail(self, slot: Slot, reason: str, details: str = "") -> None:
        """Ends a worker's process, reports its episode as lost, plans a restart.

        Args:
            slot: of the worker.
            reason: in one line.
            details: where it raised. Of a worker of this host, what it and its game
                printed is told instead, which ends with that.
        """
        log = slot.child.log() if slot.child else ""
        details = (slot.child.log(SHOWN) if slot.child else "") or details
        self._drop(slot)
        self.totals["restarts"] += 1
        slot.restarts += 1
        if slot.episode:
            self._lose(slot)
        if not self.fatal:  # which is told when it ends the run
            self.complaints.heard(slot.index, reason, details)
        if slot.failed(reason, log, self.cfg):
            self._give_up(slot)
        else:
            slot.postpone(self.cfg)

    def aborted(self, slot: Slot) -> None:
        """The game was lost but the worker lives; it restarted the game itself."""
        self.totals["game_restarts"] += 1
        slot.settled = False
        self._lose(slot)
        reason = "the game was lost in mid-episode"
        self.complaints.heard(slot.index, reason)
        if slot.failed(reason, "", self.cfg):
            self._give_up(slot)

    def why(self) -> str:
        """Why too few workers are left."""
        return (
            f"{self.live} of {len(self.slots)} workers are left, fewer than "
            f"bridge.min_workers={self.cfg.min_workers}; each may fail "
            f"{self.cfg.restarts_per_hour} times an hour. "
            f"Last failure: {self.last_failure()}"
        )

    def last_failure(self) -> str:
        """Of those given up, else of the others, else who was refused."""
        lost = sorted(self.slots, key=lambda slot: slot.state != GONE)
        reasons = (s.reasons[-1] for s in lost if s.reasons)
        return next(reasons, self.link.strangers())

    def hopeless(self) -> str:
        """Why nobody will ever finish an episode, or nothing."""
        reason = alike(self.slots)
        if not reason:
            return ""
        return (
            "every worker fails in the same way, and none has finished an episode. "
            f"Last failure: {reason}"
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
        slot.owes(self.cfg.start_deadline_s, STARTING, "starting")

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
        slot.opening = None

    def _give_up(self, slot: Slot) -> None:
        self._drop(slot)
        slot.state = GONE


def _where(slot: Slot) -> str:
    """Whose process it was, once it has told."""
    known = slot.info
    return f" (process {known['pid']} on {known['host']})" if "pid" in known else ""
