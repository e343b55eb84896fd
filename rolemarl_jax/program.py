"""One experiment as compiled functions, and many seeds of it as one program.

Everything here is written for one seed and mapped over seeds at the end. The host
calls ``segment`` again and again with unbatched counters; between two calls nothing
but its arguments survives, so that two segments of n iterations equal one of 2n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax import rng
from rolemarl_jax.config import ConfigError, RunConfig
from rolemarl_jax.evaluate import Played, make_evaluate
from rolemarl_jax.learners.core import Learner, Update, compiled
from rolemarl_jax.memory import Memory, make_memory
from rolemarl_jax.rollout import Episodes, Rollout, Worlds, make_rollout
from rolemarl_jax.seeds import over_seeds
from rolemarl_jax.types import Array, Env, Key, LearnerState, PyTree

Metrics = dict[str, Array]


class SeedState(NamedTuple):
    """Everything that one experiment is, between two segments."""

    key: Key
    learner: LearnerState
    worlds: Worlds
    replay: PyTree  # of episodes, or the block just collected


class Cursor(NamedTuple):
    """Where a segment starts; counted by the host, never batched over seeds."""

    tick: Array  # environment steps of one world
    update: Array  # learner updates within the stage
    stage: Array  # index into ``Program.stages``


class Tally(NamedTuple):
    """What a segment reports, summed over its iterations."""

    episodes: Episodes
    sums: Metrics
    counts: Metrics


@dataclass(frozen=True)
class Stage:
    """A part of the run: ``warmup``, a pre-training phase, or ``train``.

    Attributes:
        name: for display. iterations: how many, ``None`` for as many as are left.
        updates: whether an iteration ends with an update.
    """

    name: str
    iterations: int | None
    updates: bool


@dataclass(frozen=True)
class Program:
    """An experiment over seeds; all functions have a leading seed axis.

    Attributes:
        stages: in order. worlds: of each seed. ticks: of one iteration.
        updates: learner updates of one training iteration.
        init: ``seed ids [seeds] -> SeedState``.
        segment: ``(SeedState, Cursor, iterations) -> (SeedState, Tally)``; donates its
            first argument.
        evaluate: ``SeedState -> Played [seeds, episodes]``.
        replay: what lies between collection and update, for its sizes.
        seeds: length of the seed axis: those asked for, and as many more as keep all
            devices equally busy; the surplus is computed and never reported.
    """

    stages: tuple[Stage, ...]
    worlds: int
    ticks: int
    updates: int
    init: Callable[[Array], SeedState]
    segment: Callable[[SeedState, Cursor, Array], tuple[SeedState, Tally]]
    evaluate: Callable[[SeedState], Played]
    replay: Memory
    seeds: int


def make_program(
    cfg: RunConfig, env: Env, learner: Learner, devices: list[Any] | None = None
) -> Program:
    """Compiled functions for one configuration.

    Raises:
        ConfigError: numbers that do not fit each other.
    """
    worlds, per_update = cfg.train.worlds, cfg.train.steps_per_update
    if max(worlds, per_update) % min(worlds, per_update):
        raise ConfigError(
            f"train.steps_per_update: got {per_update}; allowed: multiples and "
            f"divisors of train.worlds={worlds}"
        )
    ticks, updates = max(1, per_update // worlds), max(1, worlds // per_update)
    memory = make_memory(cfg, env, learner, ticks)
    rollout = make_rollout(env, learner, memory.store, worlds, ticks)
    one_seed = _segment(learner, rollout, memory, updates)
    over, seeds = over_seeds(cfg, devices or jax.devices())
    play = make_evaluate(cfg.eval, env, learner)
    warmup = -(-(cfg.train.warmup_steps or 0) // worlds)
    return Program(
        stages=(
            Stage("warmup", -(-max(warmup, memory.warmup_ticks) // ticks), False),
            *(
                Stage(p.name, -(-p.updates // updates), True)
                for p in learner.pretraining
            ),
            Stage("train", None, True),
        ),
        worlds=worlds,
        ticks=ticks,
        updates=updates,
        init=jax.jit(over(partial(_init, learner, rollout, memory))),
        segment=jax.jit(over(one_seed, unbatched=2, donated=True), donate_argnums=0),
        evaluate=jax.jit(over(lambda state: play(state.learner))),
        replay=memory,
        seeds=seeds,
    )


def seed_shapes(cfg: RunConfig, env: Env, learner: Learner) -> SeedState:
    """Shapes of what one seed keeps, without the program around them."""
    worlds = cfg.train.worlds
    ticks = max(1, cfg.train.steps_per_update // worlds)
    memory = make_memory(cfg, env, learner, ticks)
    rollout = make_rollout(env, learner, memory.store, worlds, ticks)
    return jax.eval_shape(partial(_init, learner, rollout, memory), 0)


def initial_learner(learner: Learner, seed_id: Array) -> LearnerState:
    """The learner of an experiment before its first update."""
    return learner.init(rng.named(rng.root(seed_id), "learner"))


def _init(
    learner: Learner, rollout: Rollout, memory: Memory, seed_id: Array
) -> SeedState:
    key = rng.root(seed_id)
    return SeedState(
        key=key,
        learner=initial_learner(learner, seed_id),
        worlds=rollout.init(rng.named(key, "worlds")),
        replay=memory.init(),
    )


def _segment(
    learner: Learner, rollout: Rollout, memory: Memory, updates: int
) -> Callable[[SeedState, Cursor, Array], tuple[SeedState, Tally]]:
    """Iterations of one seed: collect, store, and update by the stage's function."""

    def learn_once(
        state: SeedState, at: Array, stage: Array
    ) -> tuple[LearnerState, Metrics]:
        sample_key = rng.named(rng.named(state.key, "sample", stage), "update", at)
        update_key = rng.named(rng.named(state.key, "update", stage), "update", at)
        drawn = memory.sample(state.replay, sample_key)
        given = state.learner, drawn, at, update_key
        return jax.lax.switch(stage, _stage_updates(learner, given), *given)

    def iterate(state: SeedState, cursor: Cursor, i: Array) -> tuple[SeedState, Tally]:
        key = rng.named(state.key, "rollout")
        tick = cursor.tick + i * rollout.ticks
        worlds, block, episodes = rollout.collect(
            state.learner, state.worlds, tick, key
        )
        kept = memory.add(state.replay, state.worlds, block)
        state = state._replace(worlds=worlds, replay=kept)
        tally = Tally(episodes, {}, {})
        for k in range(updates):
            at = cursor.update + i * updates + k
            new, metrics = learn_once(state, at, cursor.stage)
            state = state._replace(learner=new)
            tally = _add_metrics(tally, metrics)
        return state, tally

    def segment(
        state: SeedState, cursor: Cursor, iterations: Array
    ) -> tuple[SeedState, Tally]:
        shapes = jax.eval_shape(iterate, state, cursor, jnp.zeros((), jnp.int32))[1]
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def body(i: Array, carry: tuple[SeedState, Tally]) -> tuple[SeedState, Tally]:
            state, tally = carry
            state, more = iterate(state, cursor, i)
            return state, jax.tree.map(jnp.add, tally, more)

        return jax.lax.fori_loop(0, iterations, body, (state, nothing))

    return segment


def _stage_updates(learner: Learner, given: tuple[Any, ...]) -> list[Update]:
    """One update function a stage, with the same metrics (NaN where not theirs).

    Args:
        given: what they will be called with, so that one trace serves both.
    """
    stages: list[Update] = [
        lambda state, *_: (state, {}),
        *(compiled(stage.update) for stage in learner.pretraining),
        compiled(learner.update),
    ]
    reported = [jax.eval_shape(f, *given)[1] for f in stages]
    names = sorted(set().union(*reported))

    def padded(update: Update) -> Update:
        def run(*args: Any) -> tuple[LearnerState, Metrics]:
            state, metrics = update(*args)
            nan = jnp.full((), jnp.nan)
            return state, {name: metrics.get(name, nan) for name in names}

        return run

    return [padded(update) for update in stages]


def _add_metrics(tally: Tally, metrics: Metrics) -> Tally:
    """Adds what was reported; NaN means that a phase was not due."""
    known = {name: ~jnp.isnan(x) for name, x in metrics.items()}
    sums = {n: jnp.where(known[n], x, 0.0) for n, x in metrics.items()}
    counts = {n: k.astype(jnp.float32) for n, k in known.items()}
    if tally.sums:
        sums = jax.tree.map(jnp.add, tally.sums, sums)
        counts = jax.tree.map(jnp.add, tally.counts, counts)
    return Tally(tally.episodes, sums, counts)
