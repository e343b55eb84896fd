"""From finished episodes to updates, while acting goes on.

Updates are launched and not waited for. Acting uses the newest parameters that are
ready, so it is at most a few updates behind and never stands still for one. Numbers
that are none are not learnt from, as in compiled worlds.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax import rng
from rolemarl_jax.bridge.collect import Episode
from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.replay import Replay, Whole, make_replay
from rolemarl_jax.experience.store import observation_store
from rolemarl_jax.learners.parts.learner import Learner, UpdateFn
from rolemarl_jax.program.divergence import GOING_ON, keep_finite
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.sweep import fit
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import EnvSpec, Key, LearnerState, Observation, PyTree

Metrics = dict[str, Any]
SAVING = 2**29  # bytes that writing a checkpoint takes besides what it holds
BACKLOG = 4  # updates that may be due before episodes have to wait for them


class Counters(NamedTuple):
    """Where training is; stored with a checkpoint.

    Attributes:
        stage: 0 is warm-up, then pre-training stages, then ``train``.
        update: updates within the stage.
        updates: of all stages.
    """

    stage: int = 0
    update: int = 0
    updates: int = 0


class Steps:
    """Runs the updates of all stages, in order, on what a source gives.

    Attributes:
        counters: where training is. acting: newest learner state that is ready.
        diverged_at: the update whose numbers were no longer finite, of all stages, or
            ``None``; it and those after it changed nothing.
    """

    def __init__(
        self, learner: Learner, key: Key, state: LearnerState, counters: Counters
    ) -> None:
        self.counters, self.acting = counters, state
        self.diverged_at: int | None = None
        self._diverged_at = jnp.asarray(GOING_ON, jnp.int32)
        self._keep = jax.jit(keep_finite)
        self._key, self._latest = key, state
        stages: list[tuple[str, int | None, UpdateFn]] = [
            (stage.name, stage.updates, stage.update) for stage in learner.pretraining
        ]
        self._stages = [*stages, ("train", None, learner.update)]
        self._metrics: list[Metrics] = []

    @property
    def stage(self) -> str:
        """Name of the stage, for display."""
        at = self.counters.stage
        return "warmup" if at == 0 else self._stages[at - 1][0]

    @property
    def pretraining(self) -> int:
        """Updates before those of training."""
        return sum(updates or 0 for _, updates, _ in self._stages)

    @property
    def latest(self) -> LearnerState:
        """The state after all updates that were launched."""
        return self._latest

    def busy(self) -> bool:
        """Whether an update is being computed; if not, acting uses its result."""
        if self._latest is self.acting:
            return False
        if not all(x.is_ready() for x in jax.tree.leaves(self._latest.params)):
            return True
        self._arrived()
        return False

    def launch(self, draw: Callable[[Key], Any]) -> None:
        """One update on ``draw(key)``; its keys are those of a native run."""
        at = self.counters
        stage, update = self._from(at.stage), at.update if at.stage else 0
        sample_key, update_key = (
            rng.named(rng.named(self._key, name, stage), "update", update)
            for name in ("sample", "update")
        )
        _, last, step = self._stages[stage - 1]
        t = jnp.asarray(update, jnp.int32)
        out = step(self._latest, draw(sample_key), t, update_key)
        self._latest, metrics, self._diverged_at = self._keep(
            self._latest, out, self._diverged_at, jnp.asarray(at.updates, jnp.int32)
        )
        self._metrics.append(metrics)
        self.counters = Counters(stage, update + 1, at.updates + 1)
        if last is not None and update + 1 >= last:
            self.counters = Counters(self._from(stage + 1), 0, at.updates + 1)

    def _from(self, stage: int) -> int:
        """The first stage from this one on that makes updates."""
        stage = max(stage, 1)
        while self._stages[stage - 1][1] == 0:
            stage += 1
        return stage

    def compile(self, batch: Any) -> None:
        """Compiles the next update; its result is thrown away."""
        zero, key = jnp.zeros((), jnp.int32), jax.random.key(0)
        _, _, update = self._stages[self._from(self.counters.stage) - 1]
        jax.block_until_ready(update(self._latest, batch, zero, key))

    def wait(self) -> None:
        """Returns when all updates are computed."""
        jax.block_until_ready(self._latest)
        self._arrived()

    def _arrived(self) -> None:
        """What was launched is computed; acting uses it."""
        self.acting = self._latest
        at = int(self._diverged_at)
        self.diverged_at = None if at == GOING_ON else at

    def report(self) -> dict[str, float]:
        """Means of the metrics since the last report; phases that were not due
        do not count.
        """  # noqa: D205
        sums: dict[str, float] = {}
        counts: Counter[str] = Counter()
        for metrics in jax.device_get(self._metrics):
            for name, value in metrics.items():
                known = bool(np.isfinite(value))
                sums[name] = sums.get(name, 0.0) + (float(value) if known else 0.0)
                counts[name] += known
        self._metrics = []
        return {n: sums[n] / counts[n] if counts[n] else float("nan") for n in counts}


def padded(episode: Episode, limit: int) -> Whole:
    """The episode as it was seen, zeros behind its end."""

    def pad(x: np.ndarray, length: int) -> Any:
        out = np.zeros((length, *x.shape[1:]), x.dtype)
        out[: len(x)] = x
        return out

    seen = (episode.obs, episode.state, episode.avail)
    return Whole(
        world=Observation(*(pad(x, limit + 1) for x in seen)),
        action=pad(episode.action, limit),
        reward=pad(episode.reward, limit),
        length=jnp.asarray(episode.length, jnp.int32),
        terminated=jnp.asarray(episode.terminated),
    )


def require_length(cfg: RunConfig, most: int) -> None:
    """Refuses a run that may end before training begins.

    Args:
        most: env steps that may have been played when the first update of training
            is made, if every episode lasts as long as it can.

    Raises:
        ConfigError: names both.
    """
    if cfg.total_steps < most:
        raise ConfigError(
            f"total_steps: got {cfg.total_steps}; the first update of training may "
            f"come as late as {most} env steps into the run; allowed: at least that, "
            "or a smaller block (train.worlds, train.steps_per_update), smaller batch "
            "(replay.batch, replay.rows) or less pre-training"
        )


def make_kept(cfg: RunConfig, spec: EnvSpec) -> Replay:
    """The replay of a run. Its contents have a leading axis of one seed, `[1, ...]`,
    as a checkpoint has them, so that saving and taking up need no second copy.
    """  # noqa: D205
    store = observation_store(spec)
    kept = make_replay(cfg.replay, spec, store, worlds=1)

    def insert(contents: PyTree, seen: Whole) -> PyTree:
        whole = seen._replace(world=jax.vmap(store.encode)(seen.world))
        return of_seed(kept.insert(alone(contents), whole))

    def alone(contents: PyTree) -> PyTree:
        return jax.tree.map(lambda x: jnp.squeeze(x, 0), contents)

    def of_seed(contents: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[None], contents)

    return replace(
        kept,
        init=lambda: of_seed(kept.init()),
        insert=insert,
        sample=lambda contents, key: kept.sample(alone(contents), key),
        full=lambda contents: kept.full(alone(contents)),
    )


def require_room(cfg: RunConfig, kept: Replay) -> None:
    """Refuses a replay that the machine, or its accelerator, cannot hold.

    Raises:
        ConfigError: names bytes and what would fit.
    """
    replay = tree_bytes(jax.eval_shape(kept.init))
    fit.require_room(cfg, replay + SAVING, replay)


class Replayed:
    """Off-policy training: each finished episode enters replay once, and brings
    ``updates_per_episode`` updates once a full batch is there.

    Attributes:
        steps: the updates.
        memory: contents of the replay, `[1, ...]`.
    """  # noqa: D205

    def __init__(
        self,
        cfg: RunConfig,
        steps: Steps,
        spec: EnvSpec,
        per_episode: int,
        memory: PyTree = None,
    ) -> None:
        self.steps = steps
        self._cfg, self._limit = cfg.replay, spec.episode_limit
        self._warmup = cfg.train.warmup_steps or 0
        self._per_episode = per_episode
        kept = make_kept(cfg, spec)
        if memory is None:
            require_room(cfg, kept)
        self._insert = jax.jit(kept.insert, donate_argnums=0)
        self._sample, self._full = jax.jit(kept.sample), jax.jit(kept.full)
        self.memory = jax.jit(kept.init)() if memory is None else memory
        self._ready = bool(self._full(self.memory))
        self._due = self._seen = 0
        first = max(self._warmup, kept.warmup_ticks) + self._limit - 1
        later = steps.pretraining // per_episode
        require_length(cfg, first + later * self._limit)

    def open(self) -> bool:
        """Whether another episode may begin."""
        return True

    def begin(self, episode: int) -> None:
        """An episode begins; nothing has to be remembered of it."""

    def lost(self, episode: int) -> None:
        """An episode is void; nothing of it was stored."""

    def finished(self, episode: Episode) -> None:
        """Stores a whole episode; waits only for updates that are long overdue."""
        if episode.length > self._limit:
            raise ValueError(f"episode {episode.id} has {episode.length} steps")
        self.memory = self._insert(self.memory, padded(episode, self._limit))
        self._seen += episode.length
        self._ready = self._ready or (
            self._seen >= self._warmup and bool(self._full(self.memory))
        )
        self._due += self._per_episode if self._ready else 0
        while self._due > BACKLOG * self._per_episode:
            self.steps.wait()
            self._launch()
        self.turn()

    def turn(self) -> None:
        """Launches an update if one is due and none is running."""
        if not self.steps.busy() and self._due:
            self._launch()

    def drain(self) -> None:
        """Makes all updates that are due."""
        while self._due:
            self._launch()
        self.steps.wait()

    def compile(self) -> None:
        """Compiles what training needs, on a throw-away batch."""
        self.steps.compile(self._sample(self.memory, jax.random.key(0)))

    def _launch(self) -> None:
        self._due -= 1
        self.steps.launch(lambda key: self._sample(self.memory, key))
