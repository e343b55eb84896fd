"""Games: simulators as ``Game`` records, one module each, found by name.

A module has ``make(settings, seed) -> Game``, where ``settings`` are the keys of the
environment's YAML file without its ``name``. Simulators are imported inside ``make``,
in the worker's interpreter, which needs nothing of this package but this folder,
``protocol`` and ``worker``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rolemarl_jax.bridge.worker.protocol import Flags, Seen, Shapes


class SetupError(Exception):
    """What no restart can mend: a missing package, map or game; a wrong version."""


class Outcome(NamedTuple):
    """What one step returned.

    Attributes:
        seen: after the step.
        reward: of the team.
        terminated: the episode ended by itself.
        truncated: the time limit cut it.
        won: it ended in a win.
        aborted: the game was lost; nothing of this episode may be used.
    """

    seen: Seen
    reward: float
    terminated: bool
    truncated: bool
    won: bool
    aborted: bool


@dataclass(frozen=True)
class Game:
    """One simulator.

    Attributes:
        shapes: of its arrays.
        episode_limit: the most steps of an episode.
        reset: begins an episode.
        step: plays one step of ``actions``.
        info: versions and whatever else a record should have, after a ``reset``.
        close: ends the simulator.
        max_return: return of a perfect episode, if it is known.
        same_scale: whether ``scale`` must be equal in all workers.
        scale: the divisor of rewards, 0 if there is none.
        restarts: of the game within this process, so far.
        save_replay: writes a replay of the game so far and says where, if it can.
        flags: features that are never anything but 0 or 1.
    """

    shapes: Shapes
    episode_limit: int
    reset: Callable[[], Seen]
    step: Callable[[list[int]], Outcome]
    info: Callable[[], dict[str, Any]]
    close: Callable[[], None]
    max_return: float | None = None
    same_scale: bool = True
    scale: Callable[[], float] = lambda: 0.0
    restarts: Callable[[], int] = lambda: 0
    save_replay: Callable[[str], str] = lambda _: ""
    flags: Flags = field(default_factory=Flags)
