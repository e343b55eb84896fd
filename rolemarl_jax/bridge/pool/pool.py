"""Supervision: workers are started, watched by deadlines, and replaced.

Nothing here blocks longer than it is told to, and nothing a worker does or fails to
do raises: its episode is reported as lost, and another process takes its place.
"""

import shutil
import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from rolemarl_jax.bridge.config import BridgeConfig, check
from rolemarl_jax.bridge.pool.agreement import Agreement
from rolemarl_jax.bridge.pool.link import Link, Message
from rolemarl_jax.bridge.pool.slots import BUSY, DOWN, GONE, IDLE, STARTING, Slot
from rolemarl_jax.bridge.worker import process
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.launch import UNFIT
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import EnvSpec, Remote

TRIES = 3  # starts of each worker before a run that has none yet is refused


class PoolError(RuntimeError):
    """Too few workers are left."""


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        slot: of the worker. episode: id. header, seen: of the answer, or ``None``
            where the episode was lost. path: of a saved replay.
    """

    slot: int
    episode: int
    header: p.Header | None
    seen: p.Seen | None
    path: str = ""


class Pool:
    """Workers of one learner.

    Attributes:
        spec: of the world that all of them play. slots: their places.
    """

    def __init__(self, cfg: BridgeConfig, world: Remote, seed: int) -> None:
        check(cfg)
        self._cfg, self._world, self._seed = cfg, world, seed
        self._session = process.session_folder()
        try:
            self._link = Link(cfg, self._session)
        except ConfigError:
            shutil.rmtree(self._session, ignore_errors=True)
            raise
        local = cfg.workers - cfg.remote
        self.slots = [Slot(i, i < local, cfg.backoff_s) for i in range(cfg.workers)]
        self._by_peer: dict[bytes, Slot] = {}
        self._agreed = Agreement()
        self._answers: list[Answer] = []
        self.totals: Counter[str] = Counter(restarts=0, aborts=0, game_restarts=0)
        self._fatal = ""
        try:
            self.spec = self._first_contact()
        except BaseException:
            self.close()
            raise

    @property
    def live(self) -> int:
        """Workers that have not been given up."""
        return sum(slot.state != GONE for slot in self.slots)

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
        slot = self.slots[index]
        frames = [p.actions_frame(actions)]
        self._ask(slot, p.STEP, self._cfg.step_deadline_s, frames)

    def save_replay(self, index: int, folder: str) -> None:
        """Asks for a replay of the worker's game; the answer has its ``path``."""
        frames = [p.text_frame({"folder": folder})]
        slot = self.slots[index]
        self._ask(slot, p.REPLAY, self._cfg.reset_deadline_s, frames)

    def poll(self, timeout_s: float) -> list[Answer]:
        """Answers and losses, waiting at most ``timeout_s`` for the first.

        Raises:
            PoolError: fewer workers are left than ``bridge.min_workers``.
            ConfigError: a worker cannot run for a reason that stays.
        """
        for message in self._link.receive(0.0 if self._answers else timeout_s):
            self._take(message)
        self._watch()
        if self._fatal:
            raise ConfigError(self._fatal)
        if self.live < max(1, self._cfg.min_workers):
            raise PoolError(self._why())
        found, self._answers = self._answers, []
        return found

    def completed(self, index: int) -> None:
        """Tells that a worker's episode was whole."""
        self.slots[index].completed(self._cfg)
        self.slots[index].episode = 0  # what fails from now on costs no episode

    def record(self) -> dict[str, Any]:
        """What the summary says of the bridge."""
        return {
            **dict(self.totals),
            "refused_messages": dict(self._link.refused),
            "workers": [slot.record() for slot in self.slots],
        }

    def close(self) -> None:
        """Ends all workers and removes everything of theirs."""
        for slot in self.slots:
            if slot.peer is not None:
                head = p.Header(p.CLOSE, slot.index, slot.generation)
                self._link.send(slot.peer, head)
        until = time.monotonic() + 3.0
        children = [slot.child for slot in self.slots if slot.child is not None]
        quiet = all(slot.state in (IDLE, GONE, DOWN) for slot in self.slots)
        while quiet and any(c.alive() for c in children) and time.monotonic() < until:
            time.sleep(0.02)
        for child in children:
            child.kill()
        self._link.close()
        shutil.rmtree(self._session, ignore_errors=True)

    def _first_contact(self) -> EnvSpec:
        """Starts all workers and waits until each has spoken or failed for good."""
        until = time.monotonic() + 2 * self._cfg.start_deadline_s
        waiting = True
        while waiting and time.monotonic() < until:
            try:
                self.poll(0.05)
            except PoolError as error:
                raise ConfigError(f"no worker could be started: {error}") from None
            young = [s for s in self.slots if s.local or not self._agreed.said]
            waiting = any(slot.state in (DOWN, STARTING) for slot in young)
            tries = [slot.restarts for slot in self.slots if slot.local]
            if not self._agreed.said and tries and min(tries) >= TRIES:
                break
        if not self._agreed.said:
            raise ConfigError(f"no worker could be started: {self._why()}")
        return self._agreed.spec(self._world.name)

    def _ask(
        self, slot: Slot, kind: int, seconds: float, frames: list[bytes] | None = None
    ) -> None:
        if slot.state != IDLE or slot.peer is None:
            raise ValueError(f"worker {slot.index} is {slot.state}, not idle")
        slot.owes(seconds, BUSY)
        head = p.Header(
            kind, slot.index, slot.generation, episode=slot.episode, step=slot.step
        )
        self._link.send(slot.peer, head, frames)

    def _take(self, message: Message) -> None:
        """One message of somebody with the right secret."""
        header = message.header
        if header.kind == p.JOIN:
            self._join(message)
            return
        slot = self._by_peer.get(message.peer)
        if slot is None or slot.generation != header.generation:
            self._link.refused["of a worker that was given up"] += 1
            return
        try:
            self._heed(slot, message)
        except (KeyError, TypeError, ValueError) as error:
            self._fail(slot, f"spoke nonsense: {error!r}")

    def _heed(self, slot: Slot, message: Message) -> None:
        header, frames = message.header, message.frames
        if header.kind == p.HELLO and slot.state == STARTING:
            self._hello(slot, p.read_text(frames))
        elif header.kind == p.FAULT:
            said = p.read_text(frames)
            if said["kind"] in ("setup", "action"):
                self._fatal = self._fatal or f"worker {slot.index}: {said['text']}"
            self._fail(slot, str(said["text"]).splitlines()[0])
        elif header.kind in (p.SEEN, p.DONE) and slot.state == BUSY:
            self._answer(slot, message)
        else:
            raise p.ProtocolError(f"kind {header.kind} while {slot.state}")

    def _join(self, message: Message) -> None:
        """A process says that it is there; it is told what to play."""
        slot = self._place(message.header)
        if slot is None:
            self._link.refused["no place for it"] += 1
            return
        slot.peer = message.peer
        self._by_peer[message.peer] = slot
        seed = slot.next_seed(self._seed)
        slot.owes(self._cfg.start_deadline_s, STARTING)
        settings = {
            "adapter": self._world.adapter,
            "settings": self._world.settings,
            "seed": seed,
            "deadlines": [self._cfg.reset_deadline_s, self._cfg.step_deadline_s],
        }
        head = p.Header(p.SETUP, slot.index, slot.generation)
        self._link.send(message.peer, head, [p.text_frame(settings)])

    def _place(self, header: p.Header) -> Slot | None:
        """The slot that a joining process belongs to."""
        if header.slot == p.ANY_SLOT:
            free = [s for s in self.slots if not s.local and s.state == DOWN]
            if free:
                free[0].generation += 1
            return free[0] if free else None
        if header.slot >= len(self.slots):
            return None
        slot = self.slots[header.slot]
        fits = slot.state == STARTING and slot.generation == header.generation
        return slot if fits and slot.local else None

    def _hello(self, slot: Slot, said: dict[str, Any]) -> None:
        """Sizes, which have to be those of all others."""
        self._fatal = self._agreed.hello(slot.index, said) or self._fatal
        slot.facts |= {key: said[key] for key in ("host", "pid", "python")}
        slot.state = IDLE

    def _answer(self, slot: Slot, message: Message) -> None:
        header, frames = message.header, message.frames
        if header.episode != slot.episode:
            raise p.ProtocolError(
                f"answer for episode {header.episode}, asked {slot.episode}"
            )
        slot.state = IDLE
        if header.kind == p.DONE:
            path = str(p.read_text(frames).get("path", ""))
            self._answers.append(Answer(slot.index, slot.episode, None, None, path))
            return
        if header.flags & p.INFO:
            facts = p.read_text(frames[3:])
            slot.facts |= facts
        seen = p.read_seen(frames[:3], self._agreed.shapes)
        first = header.step == 0
        if header.step != slot.step + (0 if first else 1):
            raise p.ProtocolError(f"answer for step {header.step} after {slot.step}")
        slot.step, slot.scale = header.step, header.scale
        if header.flags & p.ABORTED:
            self._aborted(slot)
            return
        wrong = self._agreed.scale(slot, self.slots) if first else ""
        if wrong:
            self._fail(slot, wrong)
            return
        self._answers.append(Answer(slot.index, slot.episode, header, seen))

    def _aborted(self, slot: Slot) -> None:
        """The game was lost but the worker lives; it restarted the game itself."""
        self.totals["aborts"] += 1
        self.totals["game_restarts"] += 1
        slot.aborts += 1
        self._answers.append(Answer(slot.index, slot.episode, None, None))
        slot.episode = 0
        if slot.failed("the game was lost in mid-episode", self._cfg):
            self._give_up(slot)

    def _watch(self) -> None:
        """Deadlines, processes that died, and starts that are due."""
        now = time.monotonic()
        for slot in self.slots:
            busy = slot.state in (STARTING, BUSY)
            if slot.state in (DOWN, GONE):
                if slot.state == DOWN and slot.local and now >= slot.start_at:
                    self._start(slot)
            elif slot.child is not None and not slot.child.alive():
                if slot.child.process.returncode == UNFIT:
                    self._fatal = f"bridge.python: {slot.child.log()}"
                self._fail(slot, f"worker process ended: {slot.child.how()}")
            elif busy and now > slot.deadline:
                self._fail(slot, f"no answer in time while {slot.state}")

    def _start(self, slot: Slot) -> None:
        slot.generation += 1
        arguments = ["--connect", self._link.endpoint, "--slot", str(slot.index)]
        arguments += ["--generation", str(slot.generation)]
        if self._cfg.key_file:
            arguments += ["--key-file", self._cfg.key_file]
        name = f"worker-{slot.index}-{slot.generation}"
        slot.child = process.start(
            self._cfg.python, arguments, self._session, name, self._link.secret
        )
        slot.owes(self._cfg.start_deadline_s, STARTING)

    def _fail(self, slot: Slot, reason: str) -> None:
        """Ends a worker's process, reports its episode as lost, plans a restart."""
        log = slot.child.log() if slot.child else ""
        self._drop(slot)
        self.totals["restarts"] += 1
        slot.restarts += 1
        slot.scale = 0.0
        if slot.episode:
            self.totals["aborts"] += 1
            slot.aborts += 1
            self._answers.append(Answer(slot.index, slot.episode, None, None))
            slot.episode = 0
        if slot.failed(f"{reason}; it printed: {log}" if log else reason, self._cfg):
            self._give_up(slot)
        else:
            slot.postpone(self._cfg)

    def _drop(self, slot: Slot) -> None:
        """Kills the process, if there is one, and forgets its address."""
        if slot.peer is not None:
            head = p.Header(p.CLOSE, slot.index, slot.generation)
            self._link.send(slot.peer, head)
            self._by_peer.pop(slot.peer, None)
            slot.peer = None
        if slot.child is not None:
            slot.child.kill()
            slot.child = None

    def _give_up(self, slot: Slot) -> None:
        self._drop(slot)
        slot.state = GONE

    def _why(self) -> str:
        """Why too few workers are left."""
        lost = sorted(self.slots, key=lambda slot: slot.state != GONE)
        reasons = (s.reasons[-1] for s in lost if s.reasons)
        last = next(reasons, self._link.strangers())
        return (
            f"{self.live} of {len(self.slots)} workers are left, fewer than "
            f"bridge.min_workers={self._cfg.min_workers}; each may fail "
            f"{self._cfg.restarts_per_hour} times an hour. Last failure: {last}"
        )
