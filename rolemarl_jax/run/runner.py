"""The host loop: segments, evaluations, checkpoints, and what the user is told.

All counters live here. Everything that a run will do is laid out beforehand as a list
of legs, so that a run that was stopped goes on exactly where it would have been.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax import members
from rolemarl_jax.config import RunConfig
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.experience.evaluate import EvalResult
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.compiled import Compiled, Memory, compile_program
from rolemarl_jax.program.divergence import GOING_ON
from rolemarl_jax.program.program import Cursor, Program, SeedState, Tally, make_program
from rolemarl_jax.report import loggers
from rolemarl_jax.run import saved
from rolemarl_jax.run.legs import Leg, lay_out, remaining
from rolemarl_jax.types import Env

Row = loggers.Row


@dataclass(frozen=True)
class Facts:
    """What the header shows.

    Attributes:
        device: platform and number. seeds: asked for. memory: of one seed.
        compile_seconds: of all programs. store: of the replay.
        total_steps: env steps a seed. resumed_at: env steps, 0 for a new run.
        note: empty, or what a resumed run had to put up with, and surplus seeds.
    """

    device: str
    seeds: int
    memory: Memory
    compile_seconds: float
    store: str
    total_steps: int
    resumed_at: int
    note: str


@dataclass(frozen=True)
class Progress:
    """Where a run is after a leg; rates are of this process, without compilation.

    Attributes:
        seconds: spent in legs.
        steps_done, updates_done: by this process, over all seeds.
        rows: newest rows, one a seed and split.
    """

    seconds: float
    steps_done: int
    updates_done: int
    rows: list[Row]


@dataclass(frozen=True)
class Observer:
    """What a run tells the outside, from the host.

    Attributes:
        started: once, before the first leg. moved: after each leg.
        stopping: when the run was asked to stop, which it does after the leg.
    """

    started: Callable[[Facts], None]
    moved: Callable[[Progress], None]
    stopping: Callable[[], None] = lambda: None


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and is saved."""


class StoppedError(RuntimeError):
    """A run that saved itself and ended early; says why."""


def run(
    cfg: RunConfig,
    env: Env,
    learner: Learner,
    open_logger: Callable[[int], loggers.Logger],
    out: Observer,
) -> None:
    """Trains every seed to ``total_steps``, or until the process is asked to stop.

    ``open_logger`` is told the env steps that it goes on from.

    Raises:
        ConfigError: numbers that do not fit each other; nothing to resume from.
        Interrupted: after a first SIGINT or SIGTERM, the current leg and a checkpoint.
    """
    program = make_program(cfg, env, learner)
    legs = lay_out(cfg, program)
    compiled = compile_program(program, cfg)
    state, done, spent, note = _begin(cfg, program, compiled)
    facts = _facts(cfg, program, compiled, done, note)
    out.started(facts)
    logger = open_logger(facts.resumed_at)
    per_iteration = program.worlds * program.ticks
    seconds, steps, updates = 0.0, 0, 0
    with stop_requests(out.stopping) as stop, closing(logger):
        for leg in remaining(legs, done, program.updates):
            began = time.perf_counter()
            state, rows, moved = _run_leg(cfg, program, compiled, state, leg)
            seconds += time.perf_counter() - began
            steps += leg.iterations * per_iteration * members.count(cfg)
            updates += moved * members.count(cfg)
            end = leg.first + leg.iterations
            rows = [{**row, "wall_s": round(spent + seconds, 3)} for row in rows]
            logger.write(rows)
            if leg.save or stop():
                _save(cfg, state, end, end * per_iteration, spent + seconds)
            out.moved(Progress(seconds, steps, updates, rows))
            if stop() and leg is not legs[-1]:
                raise Interrupted


def _begin(
    cfg: RunConfig, program: Program, compiled: Compiled
) -> tuple[SeedState, int, float, str]:
    """Fresh state, or that of the last whole checkpoint.

    Returns:
        State, iterations done, seconds spent before, and a note for the header.
    """
    state = compiled.init(*members.arrays(cfg, program.members))
    if not cfg.resume:
        return state, 0, 0.0, ""
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    found = checkpoint.restore(folder, jax.eval_shape(partial(saved.parts, cfg), state))
    loggers.truncate_after(Path(cfg.run_dir) / rundir.METRICS, found.step)
    note = found.note
    if not cfg.checkpoint.replay:
        note += " replay was not saved: it fills again, training goes on meanwhile."
    state = saved.resumed(state, found.state)
    return state, found.meta["iterations"], found.meta["wall_s"], note.strip()


def _save(
    cfg: RunConfig, state: SeedState, iterations: int, step: int, wall_s: float
) -> None:
    meta = {"iterations": iterations, "wall_s": wall_s, "env_steps": step}
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    checkpoint.save(folder, step, saved.parts(cfg, state), meta, cfg.checkpoint.keep)


def _run_leg(
    cfg: RunConfig, program: Program, compiled: Compiled, state: SeedState, leg: Leg
) -> tuple[SeedState, list[Row], int]:
    """One segment and what follows it.

    Returns:
        The new state, its rows without ``wall_s``, and the updates made, a seed.
    """
    cursor = Cursor.at(leg.first * program.ticks, leg.update, leg.stage)
    count = jnp.asarray(leg.iterations, jnp.int32)
    # Waiting here, unlike fetching results, lets signals through.
    state, tally = jax.block_until_ready(compiled.segment(state, cursor, count))
    learns = program.stages[leg.stage].updates
    made = leg.iterations * program.updates if learns else 0
    training = program.stages[leg.stage].iterations is None
    common = {
        "env_steps": (leg.first + leg.iterations) * program.ticks * program.worlds,
        "updates": leg.update + made if training else 0,
        "stage": program.stages[leg.stage].name,
    }
    tell = partial(_rows, cfg, common, jax.device_get(state.diverged_at))
    rows = _train_rows(tell, jax.device_get(tally))
    if leg.evaluate:
        rows += _test_rows(tell, jax.device_get(compiled.evaluate(state)))
    return state, rows, made


def _train_rows(tell: Callable[..., list[Row]], tally: Tally) -> list[Row]:
    """One row a member: means over the episodes that ended and the updates made."""
    games = tally.episodes
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {name: tally.sums[name] / tally.counts[name] for name in tally.sums}
        columns = {
            "return": games.ret / games.count,
            "win_rate": games.won / games.count,
            "episode_length": games.length / games.count,
            "episodes": games.count,
            **means,
        }
    return tell("train", columns)


def _test_rows(tell: Callable[..., list[Row]], played: EvalResult) -> list[Row]:
    """One row a member: means over its greedy episodes."""
    columns = {
        "return": played.ret.mean(1),
        "win_rate": played.won.mean(1),
        "episode_length": played.length.mean(1),
        "episodes": np.full(len(played.ret), played.ret.shape[1]),
    }
    return tell("test", columns)


def _rows(
    cfg: RunConfig,
    common: Row,
    frozen: np.ndarray,
    split: str,
    columns: Mapping[str, Any],
) -> list[Row]:
    """One row a member; ``frozen_at`` is there once it has diverged."""
    return [
        {
            "seed": member.seed,
            **members.columns(member.hypers),
            **common,
            "split": split,
            **({} if frozen[i] == GOING_ON else {"frozen_at": frozen[i].item()}),
            **{name: values[i].item() for name, values in columns.items()},
        }
        for i, member in enumerate(members.members(cfg))
    ]


def _facts(
    cfg: RunConfig, program: Program, compiled: Compiled, done: int, note: str
) -> Facts:
    device = jax.devices()[0]
    surplus = program.members - members.count(cfg)
    if surplus:
        more = f"{surplus} more are computed and dropped, so that all devices "
        note = f"{more}take the same number of them. {note}".strip()
    return Facts(
        device=f"{device.device_kind} ({device.platform}) x {len(jax.devices())}",
        seeds=cfg.seeds,
        memory=compiled.memory,
        compile_seconds=compiled.seconds,
        store=program.replay.store.name,
        total_steps=cfg.total_steps,
        resumed_at=done * program.ticks * program.worlds,
        note=note,
    )


@contextmanager
def stop_requests(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a flag; a second one acts as usual.

    Args:
        tell: called at the first one.
    """
    asked = []
    before = {}

    def request(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(number, before[number])
        tell()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, request)
    except ValueError:
        pass  # not the main thread: whoever is must handle signals
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
