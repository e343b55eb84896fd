"""Greedy episodes of a stored policy on the workers of a bridge, with replays."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax import rng
from rolemarl_jax.bridge.acting import Actor, make_act
from rolemarl_jax.bridge.collect import Collector, Episode
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.matches import greedy
from rolemarl_jax.bridge.pool.pool import Pool
from rolemarl_jax.bridge.pool.slots import BUSY
from rolemarl_jax.config import RunConfig, build
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.program import initial_learner


class Exhibition(NamedTuple):
    """Greedy episodes of a stored policy.

    Attributes:
        restored: the checkpoint.
        played: whole episodes.
        replays: files that the game wrote.
        record: what the workers said of themselves.
    """

    restored: checkpoint.Restored
    played: list[Episode]
    replays: list[str]
    record: dict[str, Any]


def exhibit(
    cfg: RunConfig, pool: Pool, learner: Learner, episodes: int, step: int | None
) -> Exhibition:
    """Plays greedy episodes with a checkpoint; games save replays if they can.

    Args:
        cfg: of the run.
        pool: its workers.
        learner: its learner.
        episodes: how many.
        step: of the checkpoint, ``None`` for the newest.
    """
    abstract = jax.eval_shape(
        lambda: jax.tree.map(
            lambda x: x[None], initial_learner(learner, jnp.asarray(cfg.seed))
        )
    )
    restored = checkpoint.restore(
        Path(cfg.run_dir) / rundir.CHECKPOINTS, {"learner": abstract}, step
    )
    state = jax.tree.map(lambda x: x[0], restored.state["learner"])
    bridge = build(BridgeConfig, cfg.bridge, "bridge")
    collector = Collector(pool, bridge.max_wait_ms / 1000)
    key = rng.named(rng.root(cfg.seed), "bridge test")
    actor = Actor(learner, len(pool.slots), make_act(learner, greedy=True), key)
    played = greedy(collector, actor, state, episodes)
    folder = (Path(cfg.run_dir) / rundir.REPLAYS).resolve()
    return Exhibition(restored, played, _replays(pool, folder), pool.record())


def _replays(pool: Pool, folder: Path) -> list[str]:
    """Asks each worker that is idle for a replay of its game."""
    asked = {slot.index for slot in pool.idle()}
    for index in asked:
        # Names have seconds only: two workers would write the same file.
        pool.save_replay(index, str(folder / f"worker-{index}"))
    paths: list[str] = []
    while asked:
        answers = pool.poll(0.1)
        paths += [one.path for one in answers if one.path]
        asked -= {one.slot for one in answers}
        asked &= {slot.index for slot in pool.slots if slot.state == BUSY}
    return sorted(paths)
