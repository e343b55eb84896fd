"""The host loop of a run whose worlds are played by other processes.

What `run.runner` is to compiled worlds: the same rows, evaluations, checkpoints and
messages. Steps are those of finished episodes; marks (logs, evaluations, checkpoints)
are reached by the first episode that ends behind them.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax

from rolemarl_jax import rng, stops
from rolemarl_jax.bridge import saved
from rolemarl_jax.bridge.acting import Actor, make_act
from rolemarl_jax.bridge.collect import Collector, Episode, Stretch
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.matches import greedy, means, without_arrays
from rolemarl_jax.bridge.pool.pool import Pool, PoolError
from rolemarl_jax.bridge.recording import Recorder
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import rundir
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.members import Member, Row
from rolemarl_jax.program.compiled import Footprint
from rolemarl_jax.report import loggers
from rolemarl_jax.report.ranking import remedy
from rolemarl_jax.report.rows import Position, make_row, stamped
from rolemarl_jax.run.observer import (
    Interrupted,
    Observer,
    RunHeader,
    StoppedError,
    device_name,
)
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.trees import tree_bytes


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
        StoppedError: too few workers are left, or one does not fit; or learning
            diverged. It is saved, with the last parameters whose numbers are finite.
    """
    loop = Loop(cfg, pool, learner, out)
    out.started(loop.header)
    pool.keep_complaints(Path(cfg.run_dir) / rundir.WORKERS)
    with (
        stops.requests(out.stopping) as stop,
        closing(open_logger(loop.header.resumed_at)) as logger,
    ):
        try:
            while not loop.done() and not stop():
                loop.advance(logger, stop)
        except (PoolError, ConfigError, DivergedError) as error:
            # The latter: of a worker that joined late and does not fit the others.
            loop.save()
            raise StoppedError(str(error)) from None
        if stop() and not loop.done():
            raise Interrupted
    return loop.record()


class DivergedError(RuntimeError):
    """Losses or parameters are no numbers any more."""


class Loop:
    """A run in progress.

    Attributes:
        header: what is known of it at its beginning.
    """

    def __init__(
        self, cfg: RunConfig, pool: Pool, learner: Learner, out: Observer
    ) -> None:
        self._cfg, self._pool, self._learner, self._out = cfg, pool, learner, out
        bridge = build(BridgeConfig, cfg.bridge, "bridge")
        self._training, self._ledger, note = saved.begin(
            cfg, bridge, pool.spec, learner
        )
        self._collector = Collector(pool, bridge.max_wait_ms / 1000)
        self._recorder = Recorder(bridge.record, pool, self._ledger.episodes)
        self._acts = {
            name: make_act(learner, greedy=name == "test") for name in ("train", "test")
        }
        began = time.monotonic()
        stops.check()
        self._training.compile()
        self.header = self._header(time.monotonic() - began, note)
        self._ledger.start(self._updates)
        self._recent: list[Episode] = []
        self._actor = self._new_actor("train", self._ledger.episodes)

    def done(self) -> bool:
        """Whether ``total_steps`` are reached, and judged."""
        ledger = self._ledger
        return ledger.env_steps >= self._cfg.total_steps and not ledger.owes_test

    def advance(self, logger: loggers.Logger, stop: Callable[[], bool]) -> None:
        """Plays to the next evaluation, evaluates, and saves if it is time."""
        cfg, ledger = self._cfg, self._ledger
        start = ledger.env_steps
        rows = [] if ledger.owes_test else self._play(logger, stop)
        if ledger.owes_test and not stop():
            rows += self._test_rows(stop)
        self._report(logger, rows)
        due = ledger.env_steps >= _mark_after(start, cfg.checkpoint.every)
        if due or stop() or self.done():
            self.save()

    def _play(self, logger: loggers.Logger, stop: Callable[[], bool]) -> list[Row]:
        """Plays to the next evaluation; returns the rows that are not yet written."""
        cfg, ledger, training = self._cfg, self._ledger, self._training
        logged = ledger.env_steps
        goal = min(_mark_after(logged, cfg.eval.every), cfg.total_steps)

        def finished(episode: Episode) -> None:
            nonlocal logged
            self._take(episode)
            if goal > ledger.env_steps >= _mark_after(logged, cfg.log_every):
                logged = ledger.env_steps
                self._report(logger, [self._train_row()])

        self._collector.play(
            Stretch(
                more=lambda: ledger.env_steps < goal and training.open(),
                begin=self._next_episode,
                act=lambda observation, ready, fresh: self._actor(
                    training.steps.acting, observation, ready, fresh, ledger.env_steps
                ),
                finished=finished,
                lost=training.lost,
                turn=training.turn,
                stop=stop,
            )
        )
        training.drain()
        self._require_numbers()
        ledger.owes_test = ledger.env_steps >= goal
        return [self._train_row()] if ledger.env_steps > logged else []

    def save(self) -> None:
        """Writes a checkpoint."""
        saved.save(self._cfg, self._training, self._ledger, self._totals())

    def record(self) -> dict[str, Any]:
        """What the summary says of the bridge, earlier processes included."""
        own = {**self._pool.record(), **self._totals()}
        return {"bridge": {**own, "episodes": self._ledger.episodes}}

    @property
    def _updates(self) -> int:
        return self._training.steps.counters.updates

    def _header(self, compile_seconds: float, note: str) -> RunHeader:
        state, memory = self._training.steps.latest, self._training.memory
        held = tree_bytes(memory)
        return RunHeader(
            device=f"{device_name()}, {len(self._pool.slots)} workers",
            footprint=Footprint(
                parameters=sum(x.size for x in jax.tree.leaves(state.params)),
                state=tree_bytes(state) + held,
                replay=held,
                working=0,
            ),
            compile_seconds=compile_seconds,
            store="observations",
            resumed_at=self._ledger.env_steps,
            note=note,
        )

    def _next_episode(self) -> int:
        self._ledger.episodes += 1
        self._training.begin(self._ledger.episodes)
        return self._ledger.episodes

    def _take(self, episode: Episode) -> None:
        """A finished training episode."""
        self._ledger.env_steps += episode.length
        self._recent.append(without_arrays(episode))
        self._recorder.write(episode)
        self._training.finished(episode)
        self._require_numbers()

    def _require_numbers(self) -> None:
        """Playing on would teach nothing.

        Raises:
            DivergedError: names the update.
        """
        at = self._training.steps.diverged_at
        if at is not None:
            raise DivergedError(
                f"learning diverged at update {at} after {self._ledger.env_steps} env "
                f"steps (parameters of before are kept): {remedy(self._cfg.algo)}"
            )

    def _new_actor(self, split: str, start: int) -> Actor:
        key = rng.named(rng.root(self._cfg.seed), f"bridge {split}", start)
        return Actor(self._learner, len(self._pool.slots), self._acts[split], key)

    def _train_row(self) -> Row:
        row = self._row("train", self._recent)
        self._recent = []
        return {**row, **self._training.steps.report()}

    def _test_rows(self, stop: Callable[[], bool]) -> list[Row]:
        """Plays greedy episodes with parameters that stand still; all, or no row."""
        actor = self._new_actor("test", 0)
        state = self._training.steps.acting
        played = greedy(self._collector, actor, state, self._cfg.eval.episodes, stop)
        if len(played) < self._cfg.eval.episodes:
            return []
        self._ledger.owes_test = False
        return [self._row("test", played)]

    def _row(self, split: str, played: list[Episode]) -> Row:
        steps = self._training.steps
        position = Position(
            env_steps=self._ledger.env_steps,
            updates=steps.counters.update if steps.stage == "train" else 0,
            stage=steps.stage,
        )
        workers = {"workers": self._pool.live, **self._totals()}
        member = Member(self._cfg.seed, {})
        row = make_row(member, position, split, means(played), workers)
        return stamped(row, self._ledger.wall_s())

    def _totals(self) -> dict[str, int]:
        return self._ledger.totals(self._pool.totals)

    def _report(self, logger: loggers.Logger, rows: list[Row]) -> None:
        if rows:
            logger.write(rows)
            self._out.moved(self._ledger.report(self._updates, rows))


def _mark_after(done: int, every: int) -> int:
    """The first multiple of ``every`` behind ``done``."""
    return (done // every + 1) * every
