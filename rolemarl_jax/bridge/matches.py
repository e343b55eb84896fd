"""Matches: greedy episodes on all workers, and means over finished ones."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rolemarl_jax.bridge.acting import Actor
from rolemarl_jax.bridge.collect import Collector, Episode, Stretch
from rolemarl_jax.report.rows import EpisodeMeans


def greedy(
    collector: Collector,
    actor: Actor,
    state: Any,
    episodes: int,
    stop: Callable[[], bool] = lambda: False,
) -> list[Episode]:
    """Plays exactly so many whole episodes; those that were lost are played again.

    Fewer than that are returned only where ``stop`` said so.

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
        Stretch(
            more=lambda: begun < episodes,
            begin=begin,
            act=lambda observation, ready, fresh: actor(
                state, observation, ready, fresh, 0
            ),
            finished=played.append,
            lost=lost,
            turn=lambda: None,
            stop=stop,
        )
    )
    return played


def means(played: list[Episode]) -> EpisodeMeans:
    """Means over episodes; NaN where there are none."""
    if not played:
        return EpisodeMeans(math.nan, math.nan, math.nan, 0)
    return EpisodeMeans(
        ret=float(np.mean([one.reward.sum() for one in played])),
        win_rate=float(np.mean([one.won for one in played])),
        length=float(np.mean([one.length for one in played])),
        episodes=len(played),
    )


def without_arrays(episode: Episode) -> Episode:
    """The episode without its large arrays."""
    nothing = np.zeros(0)
    return episode._replace(obs=nothing, state=nothing, avail=nothing)
