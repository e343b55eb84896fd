"""The host loop of a run whose worlds are played by other processes.

What `runner` is to compiled worlds: the same rows, evaluations, checkpoints and
messages. Steps are those of finished episodes; marks (logs, evaluations, checkpoints)
are reached by the first episode that ends behind them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax

from rolemarl_jax import rng
from rolemarl_jax.bridge.acting import Actor, make_act
from rolemarl_jax.bridge.blocks import Blocks
from rolemarl_jax.bridge.collect import Collector, Episode, Plan
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.games import greedy, statistics, without_arrays
from rolemarl_jax.bridge.pool.pool import Pool, PoolError
from rolemarl_jax.bridge.recording import Recorder
from rolemarl_jax.bridge.training import Counters, Replayed, Steps
from rolemarl_jax.config import ConfigError, RunConfig, build
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.disk.checkpoint import state_bytes
from rolemarl_jax.experience.memory import check_experience
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.compiled import Memory
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.report import loggers
from rolemarl_jax.run.runner import (
    Facts,
    Interrupted,
    Observer,
    Progress,
    Row,
    StoppedError,
    stop_requests,
)
from rolemarl_jax.types import Remote

Training = Replayed | Blocks


@contextmanager
def opened(cfg: RunConfig, world: Remote) -> Iterator[Pool]:
    """Workers of a run, ended when the block is left.

    Raises:
        ConfigError: settings that cannot work, or no worker can be started.
    """
    bridge = build(BridgeConfig, cfg.bridge, "bridge")
    check(cfg, bridge, world)
    with closing(Pool(bridge, world, cfg.seed)) as pool:
        yield pool


def check(cfg: RunConfig, bridge: BridgeConfig, world: Remote) -> None:
    """Refuses what a bridge cannot do, before anything starts.

    Raises:
        ConfigError: names the key.
    """
    if cfg.seeds != 1:
        raise ConfigError(
            f"seeds: got {cfg.seeds}; allowed for env={cfg.env['name']}: 1 (start one "
            "run for each seed: seed=0, seed=1, ...)"
        )
    if cfg.sweep.hypers:
        raise ConfigError(
            f"sweep.hypers: got {', '.join(cfg.sweep.hypers)}; allowed for "
            f"env={cfg.env['name']}: none (its worlds are processes; start one run for "
            "each value)"
        )
    timeout = world.settings.get("sc2_timeout_s")
    if timeout is not None and bridge.step_deadline_s <= timeout:
        raise ConfigError(
            f"bridge.step_deadline_s: got {bridge.step_deadline_s}; allowed: more than "
            f"env.sc2_timeout_s={timeout}, after which the game is restarted"
        )
    for name, value, base_name, base in (
        ("eval.every", cfg.eval.every, "log_every", cfg.log_every),
        ("checkpoint.every", cfg.checkpoint.every, "eval.every", cfg.eval.every),
    ):
        if value % base:
            raise ConfigError(
                f"{name}: got {value}; allowed: multiples of {base_name}={base}"
            )


def run(
    cfg: RunConfig,
    pool: Pool,
    learner: Learner,
    open_logger: Callable[[int], loggers.Logger],
    out: Observer,
) -> dict[str, Any]:
    """Trains to ``total_steps``, or until the process is asked to stop.

    Returns:
        What ``summary.json`` says of the bridge.

    Raises:
        ConfigError: numbers that do not fit each other; nothing to resume from.
        Interrupted: the run was asked to stop; it is saved.
        StoppedError: too few workers are left, or one does not fit; it is saved.
    """
    loop = Loop(cfg, pool, learner, out)
    out.started(loop.facts())
    with (
        stop_requests(out.stopping) as stop,
        closing(open_logger(loop.env_steps)) as logger,
    ):
        try:
            while loop.env_steps < cfg.total_steps and not stop():
                loop.stretch(logger, stop)
        except (PoolError, ConfigError) as error:
            # The latter: of a worker that joined late and does not fit the others.
            loop.save()
            raise StoppedError(str(error)) from None
        if stop() and loop.env_steps < cfg.total_steps:
            raise Interrupted
    return loop.record()


class Loop:
    """A run in progress.

    Attributes:
        env_steps: of finished episodes.
    """

    def __init__(
        self, cfg: RunConfig, pool: Pool, learner: Learner, out: Observer
    ) -> None:
        self._cfg, self._pool, self._learner, self._out = cfg, pool, learner, out
        self._bridge = build(BridgeConfig, cfg.bridge, "bridge")
        self._key = rng.root(cfg.seed)
        self.env_steps = self._episodes = self._done_before = 0
        self._spent, self._note = 0.0, ""
        self._earlier: dict[str, int] = {}
        self._training = self._begin()
        self._collector = Collector(pool, self._bridge.max_wait_ms / 1000)
        self._recorder = Recorder(self._bridge.record, pool)
        self._acts = {
            name: make_act(learner, greedy=name == "test") for name in ("train", "test")
        }
        began = time.monotonic()
        self._training.compile()
        self._compile_s = time.monotonic() - began
        self._began, self._first_updates = time.monotonic(), self._updates
        self._recent: list[Episode] = []
        self._actor = self._new_actor("train", self._episodes)

    @property
    def _updates(self) -> int:
        return self._training.steps.counters.updates

    def facts(self) -> Facts:
        """What the header shows."""
        state = self._training.steps.latest
        held = state_bytes(self._training.memory)
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
        device = jax.devices()[0]
        return Facts(
            device=f"{device.device_kind} ({device.platform}), {len(self._pool.slots)} "
            "workers",
            seeds=1,
            memory=Memory(parameters, state_bytes(state) + held, held, 0),
            compile_seconds=self._compile_s,
            store="observations",
            total_steps=self._cfg.total_steps,
            resumed_at=self.env_steps,
            note=self._note,
        )

    def stretch(self, logger: loggers.Logger, stop: Callable[[], bool]) -> None:
        """Plays to the next evaluation, evaluates, and saves if it is time."""
        cfg = self._cfg
        start = self.env_steps
        goal = min(_next(start, cfg.eval.every), cfg.total_steps)
        logged = start

        def finished(episode: Episode) -> None:
            nonlocal logged
            self._take(episode)
            if goal > self.env_steps >= _next(logged, cfg.log_every):
                logged = self.env_steps
                self._tell(logger, [self._train_row()])

        self._collector.play(
            Plan(
                more=lambda: (
                    self.env_steps < goal and not stop() and self._training.open()
                ),
                begin=self._next_episode,
                act=lambda seen, ready, fresh: self._actor(
                    self._training.steps.acting, seen, ready, fresh, self.env_steps
                ),
                finished=finished,
                lost=self._training.lost,
                turn=self._training.turn,
            )
        )
        self._training.drain()
        rows = [self._train_row()] if self.env_steps > logged else []
        if self.env_steps >= goal:
            rows.append(self._test_row(self._cfg.eval.episodes))
        self._tell(logger, rows)
        due = self.env_steps >= _next(start, cfg.checkpoint.every)
        if due or stop() or self.env_steps >= cfg.total_steps:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint."""
        cfg = self._cfg
        self._training.drain()
        meta = {
            "iterations": self._episodes,
            "wall_s": self._wall(),
            "env_steps": self.env_steps,
            "counters": list(self._training.steps.counters),
            "bridge": self._totals(),
        }
        folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
        checkpoint.save(
            folder, self.env_steps, self._parts(), meta, cfg.checkpoint.keep
        )

    def record(self) -> dict[str, Any]:
        """What the summary says of the bridge, earlier processes included."""
        told = {**self._pool.record(), **self._totals(), "episodes": self._episodes}
        return {"bridge": told}

    def _begin(self) -> Training:
        """Fresh training, or that of the last whole checkpoint."""
        cfg, spec = self._cfg, self._pool.spec
        state = jax.jit(lambda i: initial_learner(self._learner, i))(cfg.seed)
        training = self._trainer(Steps(self._learner, self._key, state, Counters()))
        if not cfg.resume:
            return training
        self._training = training
        folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
        found = checkpoint.restore(folder, jax.eval_shape(self._parts))
        loggers.truncate_after(Path(cfg.run_dir) / rundir.METRICS, found.step)
        self._note, meta = found.note, found.meta
        self.env_steps, self._done_before = meta["env_steps"], meta["env_steps"]
        self._episodes, self._spent = meta["iterations"], meta["wall_s"]
        self._earlier = meta["bridge"]
        state = jax.tree.map(lambda x: x[0], found.state["learner"])
        steps = Steps(self._learner, self._key, state, Counters(*meta["counters"]))
        if isinstance(training, Replayed) and cfg.checkpoint.replay:
            memory = jax.tree.map(lambda x: x[0], found.state["replay"])
            per_episode = self._bridge.updates_per_episode
            return Replayed(cfg, steps, spec, per_episode, memory)
        self._note += " replay was not saved: it fills again before updates go on."
        return self._trainer(steps)

    def _trainer(self, steps: Steps) -> Training:
        cfg, spec = self._cfg, self._pool.spec
        check_experience(cfg, self._learner)
        if self._learner.experience == "fresh":
            return Blocks(cfg, steps, spec, self._learner)
        return Replayed(cfg, steps, spec, self._bridge.updates_per_episode)

    def _parts(self) -> dict[str, Any]:
        """Parts of a checkpoint, with a seed axis of one as native runs have."""
        parts: dict[str, Any] = {
            "learner": self._training.steps.latest,
            "acting": {"key": self._key},
        }
        if self._cfg.checkpoint.replay and self._training.memory is not None:
            parts["replay"] = self._training.memory
        return jax.tree.map(lambda x: x[None], parts)

    def _next_episode(self) -> int:
        self._episodes += 1
        self._training.begin(self._episodes)
        return self._episodes

    def _take(self, episode: Episode) -> None:
        """A finished training episode."""
        self.env_steps += episode.length
        self._recent.append(without_arrays(episode))
        self._recorder.write(episode)
        self._training.finished(episode)

    def _new_actor(self, split: str, start: int) -> Actor:
        key = rng.named(self._key, f"bridge {split}", start)
        return Actor(self._learner, len(self._pool.slots), self._acts[split], key)

    def _train_row(self) -> Row:
        row = self._row("train", self._recent)
        self._recent = []
        return {**row, **self._training.steps.report()}

    def _test_row(self, episodes: int) -> Row:
        """Plays greedy episodes with parameters that stand still."""
        actor = self._new_actor("test", 0)
        state = self._training.steps.acting
        played = greedy(self._collector, actor, state, episodes)
        return self._row("test", played)

    def _row(self, split: str, played: list[Episode]) -> Row:
        steps = self._training.steps
        training = steps.stage == "train"
        return {
            "seed": self._cfg.seed,
            "env_steps": self.env_steps,
            "updates": steps.counters.update if training else 0,
            "stage": steps.stage,
            "split": split,
            **statistics(played),
            "workers": self._pool.live,
            **self._totals(),
            "wall_s": round(self._wall(), 3),
        }

    def _totals(self) -> dict[str, int]:
        now = self._pool.totals
        return {name: now[name] + self._earlier.get(name, 0) for name in now}

    def _tell(self, logger: loggers.Logger, rows: list[Row]) -> None:
        if not rows:
            return
        logger.write(rows)
        self._out.moved(
            Progress(
                seconds=max(time.monotonic() - self._began, 1e-6),
                steps_done=self.env_steps - self._done_before,
                updates_done=self._updates - self._first_updates,
                rows=rows,
            )
        )

    def _wall(self) -> float:
        return self._spent + time.monotonic() - self._began


def _next(done: int, every: int) -> int:
    """The first multiple of ``every`` behind ``done``."""
    return (done // every + 1) * every
