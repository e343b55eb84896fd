"""Greedy episodes of a stored policy on the workers of a bridge, with replays."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax import rng
from rolemarl_jax.bridge import opening
from rolemarl_jax.bridge.acting import Actor, make_act
from rolemarl_jax.bridge.collect import Collector, Episode
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.matches import greedy
from rolemarl_jax.bridge.pool.pool import Answer, Pool, PoolError
from rolemarl_jax.bridge.pool.slots import BUSY, IDLE
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import checkpoint, files, rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.report.evaluation import Outcomes
from rolemarl_jax.run import stored
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Remote

PATIENCE_S = 5.0  # with workers that have begun another episode, before their replays


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


def evaluate_remote(
    cfg: RunConfig, world: Remote, games: stored.Games, step: int | None
) -> tuple[Outcomes, dict[str, Any]]:
    """Starts the workers, plays greedy episodes with a checkpoint, and ends them.

    Returns:
        The episodes of the run's one member, and what is told besides: ``replays`` and
        ``bridge``.

    Raises:
        ConfigError: workers that cannot play; no checkpoint that can be read.
    """
    asked = replace(cfg, seed=games.seed)  # of the worlds, and of sampled actions
    with opening.opened(asked, world) as pool:
        learner = make_learner(cfg.algo, pool.spec)
        shown = exhibit(asked, pool, learner, games, step)
    columns: Any = (
        [[one.reward.sum() for one in shown.played]],
        [[one.won for one in shown.played]],
        [[one.length for one in shown.played]],
    )
    made = (jnp.asarray(np.asarray(one)) for one in columns)
    outcomes = Outcomes(shown.restored.step, shown.restored.note, *made)
    return outcomes, {"replays": shown.replays, "bridge": shown.record}


def exhibit(
    cfg: RunConfig, pool: Pool, learner: Learner, games: stored.Games, step: int | None
) -> Exhibition:
    """Plays episodes with a checkpoint; games save replays if they can.

    Args:
        cfg: of the run.
        pool: its workers.
        learner: its learner.
        games: how many, and how they are played.
        step: of the checkpoint, ``None`` for the newest.

    Raises:
        ConfigError: workers that cannot play; no checkpoint that can be read.
    """
    if games.sampled:
        stored.require_policy(cfg, learner)
    restored = stored.load_states(cfg, learner, step)
    state = jax.tree.map(lambda x: x[0], restored.state["learner"])
    bridge = build(BridgeConfig, cfg.bridge, "bridge")
    collector = Collector(pool, bridge.max_wait_ms / 1000)
    key = rng.named(rng.root(cfg.seed), "bridge test")
    act = make_act(learner, greedy=not games.sampled)
    actor = Actor(learner, len(pool.slots), act, key)
    pool.keep_complaints(Path(cfg.run_dir) / rundir.WORKERS)
    try:
        played = greedy(collector, actor, state, games.episodes)
    except PoolError as error:
        raise ConfigError(f"bridge: {error}") from None
    folder = (Path(cfg.run_dir) / rundir.REPLAYS).resolve()
    return Exhibition(restored, played, _replays(pool, folder), pool.record())


def _replays(pool: Pool, folder: Path) -> list[str]:
    """Asks each worker that has played for a replay of its game."""
    paths: list[str] = []
    asked: set[int] = set()
    wanted = {slot.index for slot in pool.slots if slot.episodes}
    until = time.monotonic() + PATIENCE_S
    while wanted:
        for index in {slot.index for slot in pool.idle()} & (wanted - asked):
            # Names have seconds only: two workers would write the same file.
            pool.save_replay(index, str(folder / f"worker-{index}"))
            asked.add(index)
        try:
            answers = pool.poll(0.1)
        except (PoolError, ConfigError):
            break  # all episodes have been played: what was found counts
        paths += [_kept(one, folder) for one in answers if one.path]
        wanted -= {one.slot for one in answers}
        alive = {s.index for s in pool.slots if s.state in (BUSY, IDLE)}
        wanted &= alive if time.monotonic() < until else alive & asked
    return sorted(paths)


def _kept(answer: Answer, folder: Path) -> str:
    """Where a replay lies on this host, written there if it came over the net."""
    if not answer.data:
        return answer.path
    path = folder / f"worker-{answer.slot}" / Path(answer.path).name
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, answer.data)
    return str(path)
