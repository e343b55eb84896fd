"""What every row of ``metrics.jsonl`` has, whoever plays the worlds.

The order of the columns is part of the format: files of equal runs are equal.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rolemarl_jax import members
from rolemarl_jax.members import Member, Row


class Position(NamedTuple):
    """Where a run was when it was measured.

    Attributes:
        env_steps: of one seed.
        updates: of the last stage, which is training itself; 0 before it.
        stage: its name.
    """

    env_steps: int
    updates: int
    stage: str


class EpisodeMeans(NamedTuple):
    """Means over the episodes of one split; NaN where there are none.

    Attributes:
        ret: undiscounted return.
        win_rate: share of episodes that were won.
        length: steps of an episode.
        episodes: how many.
    """

    ret: Any
    win_rate: Any
    length: Any
    episodes: Any


def make_row(
    member: Member,
    position: Position,
    split: str,
    means: EpisodeMeans,
    measured: Mapping[str, float],
    frozen_at: int | None = None,
) -> Row:
    """One measurement of one member; ``stamped`` adds when it was made.

    Args:
        member: seed, and hyper-parameters where they are swept.
        position: where the run was.
        split: ``train`` or ``test``.
        means: over the episodes of this split.
        measured: whatever else there is, by column.
        frozen_at: env steps at which the member diverged, ``None`` if it has not.
    """
    return {
        "seed": member.seed,
        **members.columns(member.hypers),
        **position._asdict(),
        "split": split,
        **({} if frozen_at is None else {"frozen_at": frozen_at}),
        "return": means.ret,
        "win_rate": means.win_rate,
        "episode_length": means.length,
        "episodes": means.episodes,
        **measured,
    }


def stamped(row: Row, wall_s: float) -> Row:
    """The row with the seconds that the run has taken, earlier processes included."""
    return {**row, "wall_s": round(wall_s, 3)}
