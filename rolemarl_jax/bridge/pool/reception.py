"""What workers say, and what follows from it."""

from typing import Any

from rolemarl_jax.bridge.pool.agreement import Agreement
from rolemarl_jax.bridge.pool.crew import Answer, Crew
from rolemarl_jax.bridge.pool.link import Message
from rolemarl_jax.bridge.pool.slots import (
    BUSY,
    DOWN,
    IDLE,
    OPENING,
    STARTING,
    Slot,
)
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.types import Remote


class Reception:
    """Takes messages: of those who join, of those who fail, and answers.

    Attributes:
        agreed: what all workers have in common, once one has spoken.
    """

    def __init__(self, crew: Crew, world: Remote, seed: int, since: int) -> None:
        self.agreed = Agreement()
        self._crew, self._world = crew, world
        self._seed, self._since = seed, since

    def take(self, message: Message) -> None:
        """One message of somebody with the right secret."""
        header = message.header
        if header.kind == p.JOIN:
            self._join(message)
            return
        slot = self._crew.seated(message.peer, header.generation)
        if slot is None:
            self._crew.link.refused["of a worker that was given up"] += 1
            return
        try:
            self._heed(slot, message)
        except (KeyError, TypeError, ValueError) as error:
            self._crew.fail(slot, f"spoke nonsense: {error!r}")

    def hello(self, slot: Slot, said: dict[str, Any]) -> None:
        """Sizes, which have to be those of all others."""
        crew = self._crew
        crew.fatal = self.agreed.hello(slot.index, said) or crew.fatal
        slot.info |= {key: said[key] for key in ("host", "pid", "python")}
        slot.state = IDLE

    def _heed(self, slot: Slot, message: Message) -> None:
        header, frames = message.header, message.frames
        if header.kind == p.HELLO and slot.state == STARTING:
            self.hello(slot, p.read_text(frames))
        elif header.kind == p.FAULT:
            self._fault(slot, p.read_text(frames))
        elif header.kind == p.DONE and slot.state == BUSY:
            self._done(slot, message)
        elif header.kind == p.SEEN and slot.state == BUSY:
            self._seen(slot, message)
        else:
            raise p.ProtocolError(f"kind {header.kind} while {slot.state}")

    def _join(self, message: Message) -> None:
        """A process says that it is there; it is told what to play."""
        crew, slot = self._crew, self._place(message.header)
        if slot is None:
            crew.link.refused["no place for it"] += 1
            return
        crew.seat(slot, message.peer)
        seed = slot.next_seed(self._seed, self._since)
        slot.owes(crew.cfg.start_deadline_s, STARTING, "starting")
        slot.settled = False
        settings = {
            "game": self._world.game,
            "settings": self._world.settings,
            "seed": seed,
        }
        crew.send(
            slot,
            p.SETUP,
            [p.text_frame(settings)],
            seconds=crew.cfg.start_deadline_s,
        )

    def _place(self, header: p.Header) -> Slot | None:
        """The slot that a joining process belongs to."""
        slots = self._crew.slots
        if header.slot == p.ANY_SLOT:
            free = [s for s in slots if not s.local and s.state == DOWN]
            if free:
                free[0].generation += 1
            return free[0] if free else None
        if header.slot >= len(slots):
            return None
        slot = slots[header.slot]
        fits = slot.state == STARTING and slot.generation == header.generation
        return slot if fits and slot.local else None

    def _fault(self, slot: Slot, said: dict[str, Any]) -> None:
        """A worker ends itself and says why."""
        crew = self._crew
        if said["kind"] in ("setup", "action"):
            crew.fatal = crew.fatal or f"worker {slot.index}: {said['text']}"
        reason, _, where = str(said["text"]).partition("\n")
        crew.fail(slot, reason or "no reason given", where)

    def _done(self, slot: Slot, message: Message) -> None:
        """A replay is saved, or there is none."""
        _require_episode(slot, message.header)
        slot.state = IDLE
        path = str(p.read_text(message.frames[:1]).get("path", ""))
        data = b"".join(message.frames[1:])
        answer = Answer(slot.index, slot.episode, None, None, path, data)
        self._crew.answers.append(answer)

    def _seen(self, slot: Slot, message: Message) -> None:
        """The observation after a reset or a step."""
        header, frames = message.header, message.frames
        _require_episode(slot, header)
        p.require_finite(header)
        slot.state = IDLE
        if header.flags & p.INFO:
            slot.info |= p.read_text(frames[3:])
        seen = p.read_seen(frames[:3], self.agreed.shapes)
        p.require_flags(seen, self.agreed.flags)
        first = header.step == 0
        if header.step != slot.step + (0 if first else 1):
            raise p.ProtocolError(f"answer for step {header.step} after {slot.step}")
        slot.step, slot.scale = header.step, header.scale
        slot.stepped = slot.stepped or not first
        self._crew.pace.took(slot.doing, header.seconds)
        if header.flags & p.ABORTED:
            self._crew.aborted(slot)
            return
        wrong = self.agreed.scale(slot) if first else ""
        if wrong:
            self._crew.fail(slot, wrong)
            return
        if slot.episode == OPENING:
            slot.opening = (header, seen)
            return
        answer = Answer(slot.index, slot.episode, header, seen)
        self._crew.answers.append(answer)


def _require_episode(slot: Slot, header: p.Header) -> None:
    if header.episode != slot.episode:
        raise p.ProtocolError(
            f"answer for episode {header.episode}, asked {slot.episode}"
        )
