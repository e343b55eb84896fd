"""Greedy games, and what is told of finished ones."""

from typing import Any

import numpy as np

from rolemarl_jax.bridge.acting import Actor
from rolemarl_jax.bridge.collect import Collector, Episode, Plan


def greedy(
    collector: Collector, actor: Actor, state: Any, episodes: int
) -> list[Episode]:
    """Plays exactly so many whole episodes; those that were lost are played again.

    Every episode that begins is counted, so short ones are not over-weighted.
    """
    played: list[Episode] = []
    begun = 0
    ids = iter(range(1 << 62, 1 << 63))

    def begin() -> int:
        nonlocal begun
        begun += 1
        return next(ids)

    def lost(_: int) -> None:
        nonlocal begun
        begun -= 1

    collector.play(
        Plan(
            more=lambda: begun < episodes,
            begin=begin,
            act=lambda seen, ready, fresh: actor(state, seen, ready, fresh, 0),
            finished=played.append,
            lost=lost,
            turn=lambda: None,
        )
    )
    return played


def statistics(played: list[Episode]) -> dict[str, float]:
    """Means over episodes; NaN where there are none."""
    if not played:
        nan = float("nan")
        return {"return": nan, "win_rate": nan, "episode_length": nan, "episodes": 0}
    return {
        "return": float(np.mean([one.reward.sum() for one in played])),
        "win_rate": float(np.mean([one.won for one in played])),
        "episode_length": float(np.mean([one.length for one in played])),
        "episodes": len(played),
    }


def without_arrays(episode: Episode) -> Episode:
    """The episode without its large arrays."""
    nothing = np.zeros(0)
    return episode._replace(obs=nothing, state=nothing, avail=nothing)
