"""What all workers of a learner have to have in common."""

from collections import Counter
from typing import Any

from rolemarl_jax.bridge.pool.slots import Slot
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.types import EnvSpec


class Agreement:
    """Sizes and reward scale: the first worker sets them, the others are compared.

    Attributes:
        said: what the first one said of itself; empty before.
        flags: features that are never anything but 0 or 1.
    """

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.flags = p.Flags()
        self._scales: dict[int, str] = {}  # what each worker said last

    @property
    def shapes(self) -> p.Shapes:
        """Sizes of all arrays."""
        return _shapes(self.said)

    def spec(self, name: str) -> EnvSpec:
        """The world as learners know it."""
        n, a, o, s = self.shapes
        said = self.said
        return EnvSpec(
            *(name, n, a, o, s, said["episode_limit"], said["max_return"]),
            obs_flags=self.flags.obs,
            state_flags=self.flags.state,
        )

    def hello(self, index: int, said: dict[str, Any]) -> str:
        """Compares a new worker; returns what is wrong with it, or nothing."""
        ours = (_shapes(said), int(said["episode_limit"]), _flags(said))
        if not self.said:
            self.said, self.flags = said, ours[-1]
        theirs = (self.shapes, int(self.said["episode_limit"]), self.flags)
        if ours == theirs:
            return ""
        return (
            f"worker {index} on {said['host']} plays {_words(*ours)}, the others "
            f"{_words(*theirs)}; give all hosts the same packages"
        )

    def scale(self, slot: Slot) -> str:
        """Compares the divisor of rewards; returns what is wrong with it, or nothing.

        A failure of the game makes it larger, so the smallest is believed, but none
        that one worker alone says where others agree.
        """
        if not (self.said["same_scale"] and slot.scale):
            return ""
        own = f"{slot.scale:.6g}"
        self._scales[slot.index] = own
        count = Counter(self._scales.values())
        shared = [one for one, times in count.items() if times > 1]
        believed = min(shared or count, key=float)
        if own == believed:
            return ""
        return f"divides rewards by {own}, others by {believed}"


def _words(shapes: p.Shapes, limit: int, flags: p.Flags) -> str:
    known = f"{len(flags.obs)} and {len(flags.state)}"
    return f"{shapes} with {limit} steps and {known} features that are flags"


def _flags(said: dict[str, Any]) -> p.Flags:
    """What a worker says of its features.

    Raises:
        ProtocolError: features that it does not have, or in another order.
    """
    shapes = _shapes(said)
    flags = p.Flags(*(tuple(map(int, said["flags"][x])) for x in p.Flags._fields))
    for columns, size in zip(flags, (shapes.obs_dim, shapes.state_dim), strict=True):
        known = range(size)
        if list(columns) != sorted(set(columns) & set(known)):
            raise p.ProtocolError(f"flags {columns} of {size} features")
    return flags


def _shapes(said: dict[str, Any]) -> p.Shapes:
    return p.Shapes(*(int(said[name]) for name in p.Shapes._fields))
