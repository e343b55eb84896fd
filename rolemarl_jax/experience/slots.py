"""What replay keeps: one contiguous stream of slots a world (a *lane*), in a ring.

An episode of L steps takes L + 1 slots, the last one holding its terminal observation
and no transition. A table lists where episodes start, so memory follows real lengths.
"""

from typing import NamedTuple

from rolemarl_jax.types import Array, PyTree

TERMINATED, TRUNCATED, TERMINAL = 1, 2, 4


class StoredStep(NamedTuple):
    """One stored step; arrays have a leading axis over all slots of all lanes."""

    world: PyTree
    action: Array  # [N] uint8, or int32 beyond 256 actions
    reward: Array  # [] float32
    flags: Array  # [] uint8, TERMINATED | TRUNCATED, or TERMINAL


class ReplayState(NamedTuple):
    """Contents of one seed's replay. Positions count slots ever written in a lane."""

    slots: StoredStep  # [W * C, ...]
    head: Array  # [W] int32, next position
    begun: Array  # [W] int32, where the episode in progress started
    lane: Array  # [E] int32
    start: Array  # [E] int32
    count: Array  # [] int32, episodes ever finished
