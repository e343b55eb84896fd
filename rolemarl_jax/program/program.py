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
from jax.sharding import NamedSharding

from rolemarl_jax import rng
from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.evaluate import EvalResult, Evaluate, make_evaluate
from rolemarl_jax.experience.memory import Memory, make_memory
from rolemarl_jax.experience.role_metrics import RoleMetrics, make_role_metrics
from rolemarl_jax.experience.rollout import Episodes, Rollout, Worlds, make_rollout
from rolemarl_jax.experience.store import make_store
from rolemarl_jax.learners.parts.learner import Learner, UpdateFn, UpdateOut
from rolemarl_jax.learners.parts.phases import nothing_done
from rolemarl_jax.program import swept
from rolemarl_jax.program.divergence import GOING_ON, keep_finite
from rolemarl_jax.program.seeds import batched, over_seeds, spread
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Array, Env, Key, LearnerState, PyTree

Metrics = dict[str, Array]


class SeedState(NamedTuple):
    """Everything that one experiment is, between two segments."""

    key: Key
    learner: LearnerState
    worlds: Worlds
    replay: PyTree  # of episodes, or the block just collected
    diverged_at: Array  # [] int32 env step at which learning stopped, or -1


class Cursor(NamedTuple):
    """Where a segment starts; counted by the host, never batched over seeds."""

    tick: Array  # environment steps of one world
    update: Array  # learner updates within the stage
    stage: Array  # index into ``Program.stages``

    @classmethod
    def at(cls, tick: int, update: int, stage: int) -> "Cursor":
        """The cursor of numbers that the host has counted."""
        return cls(*(jnp.asarray(x, jnp.int32) for x in (tick, update, stage)))


class Tally(NamedTuple):
    """What a segment reports, summed over its iterations."""

    episodes: Episodes
    sums: Metrics
    counts: Metrics


@dataclass(frozen=True)
class Stage:
    """A part of the run: ``warmup``, a pre-training phase, or ``train``.

    Attributes:
        name: for display.
        iterations: how many, ``None`` for as many as are left.
        updates: whether an iteration ends with an update.
    """

    name: str
    iterations: int | None
    updates: bool


@dataclass(frozen=True)
class Program:
    """An experiment over members (seeds, with each combination of hyper-parameters).

    All functions have a leading axis of members.

    Attributes:
        stages: in order.
        worlds: of each member.
        ticks: of one iteration.
        updates: learner updates of one training iteration.
        init: ``(seed ids [members], {name: hyper-parameters [members]}) ->
            SeedState``; those not named, or all, are the configuration's.
        segment: ``(SeedState, Cursor, iterations) -> (SeedState, Tally)``; donates its
            first argument.
        evaluate: ``SeedState -> EvalResult [members, episodes]``, with metrics of
            roles where the algorithm has roles.
        replay: what lies between collection and update, for its sizes.
        members: length of the axis: those asked for, and as many more as keep all
            devices equally busy; the surplus is computed and never reported.
        sharding: of every leaf of a ``SeedState``: members are split over devices.
    """

    stages: tuple[Stage, ...]
    worlds: int
    ticks: int
    updates: int
    init: Callable[..., SeedState]
    segment: Callable[[SeedState, Cursor, Array], tuple[SeedState, Tally]]
    evaluate: Callable[[SeedState], EvalResult]
    replay: Memory
    members: int
    sharding: NamedSharding

    @property
    def devices(self) -> int:
        """How many devices the members are split over."""
        return self.sharding.mesh.size


def make_program(
    cfg: RunConfig, env: Env, learner: Learner, devices: list[Any] | None = None
) -> Program:
    """Compiled functions for one configuration.

    Raises:
        ConfigError: numbers that do not fit each other, hyper-parameters to sweep that
            the algorithm does not have, or with values that it does not allow.
    """
    if cfg.sweep.hypers:
        swept.check(cfg, learner)
    worlds, per_update = cfg.train.worlds, cfg.train.steps_per_update
    if max(worlds, per_update) % min(worlds, per_update):
        raise ConfigError(
            f"train.steps_per_update: got {per_update}; allowed: multiples and "
            f"divisors of train.worlds={worlds}"
        )
    updates = max(1, worlds // per_update)
    devices = devices or jax.devices()
    rollout, memory = _collection(cfg, env, learner, batched(cfg, devices))
    ticks = rollout.ticks
    one_seed = _segment(learner, rollout, memory, updates)
    over, length = over_seeds(cfg, devices)
    play = make_evaluate(cfg.eval, env, learner)
    tell = make_role_metrics(cfg.eval, env, learner)
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
        init=jax.jit(_over_members(over(partial(_init, learner, rollout, memory)))),
        segment=jax.jit(over(one_seed, unbatched=2, donated=True), donate_argnums=0),
        evaluate=jax.jit(over(partial(_judged, play, tell))),
        replay=memory,
        members=length,
        sharding=spread(cfg, devices),
    )


def seed_shapes(cfg: RunConfig, env: Env, learner: Learner) -> SeedState:
    """Shapes of what one member keeps, without the program around them."""
    return _shapes(learner, *_collection(cfg, env, learner, ahead=False))


def _collection(
    cfg: RunConfig, env: Env, learner: Learner, ahead: bool
) -> tuple[Rollout, Memory]:
    """How experience is collected and kept."""
    worlds = cfg.train.worlds
    ticks = max(1, cfg.train.steps_per_update // worlds)
    store = make_store(cfg.replay.store, env)
    memory = make_memory(cfg, learner, store, ticks)
    rollout = make_rollout(env, learner, memory.store, worlds, ticks, ahead=ahead)
    return rollout, memory


def _shapes(learner: Learner, rollout: Rollout, memory: Memory) -> SeedState:
    return jax.eval_shape(partial(_init, learner, rollout, memory), (0, {}))


def initial_learner(
    learner: Learner, seed_id: Array, hypers: Metrics | None = None
) -> LearnerState:
    """The learner of an experiment before its first update."""
    state = learner.init(rng.named(rng.root(seed_id), "learner"))
    if learner.start is not None:
        state = learner.start(seed_id, state)
    return state._replace(hypers={**state.hypers, **(hypers or {})})


def _init(
    learner: Learner, rollout: Rollout, memory: Memory, member: tuple[Array, Metrics]
) -> SeedState:
    key = rng.root(member[0])
    return SeedState(
        key=key,
        learner=initial_learner(learner, *member),
        worlds=rollout.init(rng.named(key, "worlds")),
        replay=memory.init(),
        diverged_at=jnp.full((), GOING_ON, jnp.int32),
    )


def _judged(play: Evaluate, tell: RoleMetrics, state: SeedState) -> EvalResult:
    return play(state.learner)._replace(roles=tell(state.learner))


def _over_members(init: Callable) -> Callable[..., SeedState]:
    """Two arguments, the second by choice, instead of one pair."""
    return lambda ids, hypers=None: init((ids, hypers or {}))


def _segment(
    learner: Learner, rollout: Rollout, memory: Memory, updates: int
) -> Callable[[SeedState, Cursor, Array], tuple[SeedState, Tally]]:
    """Iterations of one seed: collect, store, and update by the stage's function."""

    def learn_once(
        state: SeedState, at: Array, stage: Array, tick: Array
    ) -> tuple[SeedState, Metrics]:
        sample_key = rng.named(rng.named(state.key, "sample", stage), "update", at)
        update_key = rng.named(rng.named(state.key, "update", stage), "update", at)
        drawn = memory.sample(state.replay, sample_key)
        given = state.learner, drawn, at, update_key
        learn = _stage_updates(learner, given)
        out = jax.lax.switch(stage, learn, *given)
        steps = tick * state.worlds.agents.reset.shape[0]
        new, metrics, diverged_at = keep_finite(
            state.learner, out, state.diverged_at, steps
        )
        return state._replace(learner=new, diverged_at=diverged_at), metrics

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
            state, metrics = learn_once(state, at, cursor.stage, tick + rollout.ticks)
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


def _stage_updates(learner: Learner, given: tuple[Any, ...]) -> list[UpdateFn]:
    """One update function a stage, with the same metrics (NaN where not theirs).

    Args:
        given: what they will be called with, so that one trace serves both.
    """
    stages: list[UpdateFn] = [
        lambda state, *_: nothing_done(state),
        *(stage.update for stage in learner.pretraining),
        learner.update,
    ]
    reported = [jax.eval_shape(f, *given).metrics for f in stages]
    names = sorted(set().union(*reported))

    def padded(update: UpdateFn) -> UpdateFn:
        def run(*args: Any) -> UpdateOut:
            out, nan = update(*args), jnp.full((), jnp.nan)
            return out._replace(metrics={n: out.metrics.get(n, nan) for n in names})

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
