"""The host loop: segments, evaluations, checkpoints, and what the user is told.

All counters live here. Everything that a run will do is laid out beforehand as a list
of legs, so that a run that was stopped goes on exactly where it would have been.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax import members, stops
from rolemarl_jax.disk.checkpoint import Restored
from rolemarl_jax.experience.evaluate import EvalResult
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.members import Row
from rolemarl_jax.program.compiled import Compiled, compile_program
from rolemarl_jax.program.divergence import GOING_ON
from rolemarl_jax.program.program import Cursor, Program, SeedState, Tally, make_program
from rolemarl_jax.report import loggers
from rolemarl_jax.report.rows import EpisodeMeans, Position, make_row, stamped
from rolemarl_jax.run import saved
from rolemarl_jax.run.legs import Leg, lay_out, remaining
from rolemarl_jax.run.observer import (
    Interrupted,
    LegReport,
    Observer,
    RunHeader,
    device_name,
)
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Env

Tell = Callable[[str, EpisodeMeans, Mapping[str, Any]], list[Row]]


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
        KeyboardInterrupt: the same before the first leg; nothing is saved then.
    """
    program = make_program(cfg, env, learner)
    legs = lay_out(cfg, program)
    # What cannot be resumed is refused before anything is compiled.
    restored = saved.restore(cfg, saved.places(cfg, program)) if cfg.resume else None
    compiled = compile_program(program, cfg)
    state, done, spent, note = _begin(cfg, program, compiled, restored)
    del restored  # its arrays would be kept beside those of training
    header = _header(cfg, program, compiled, done, note)
    out.started(header)
    logger = open_logger(header.resumed_at)
    per_iteration = program.worlds * program.ticks
    seconds, steps, updates, kept = 0.0, 0, 0, done

    def keep(at: int) -> int:
        wall_s = spent + seconds
        saved.save(cfg, saved.parts(cfg, state), at * per_iteration, at, wall_s)
        return at

    with stops.requests(out.stopping) as stop, closing(logger):
        for leg in remaining(legs, done, program.updates):
            if stop():
                _leave(began_at=done, kept=kept, at=leg.first, keep=keep)
            began = time.perf_counter()
            state, rows, moved = _run_leg(cfg, program, compiled, state, leg)
            seconds += time.perf_counter() - began
            steps += leg.iterations * per_iteration * members.count(cfg)
            updates += moved * members.count(cfg)
            rows = [stamped(row, spent + seconds) for row in rows]
            logger.write(rows)
            if leg.save or stop():
                kept = keep(leg.first + leg.iterations)
            out.moved(LegReport(seconds, steps, updates, rows))


def _leave(began_at: int, kept: int, at: int, keep: Callable[[int], int]) -> NoReturn:
    """Ends a run before its next leg, saved if there is anything new to save.

    Raises:
        Interrupted: it is saved.
        KeyboardInterrupt: it has not done anything yet.
    """
    if at == began_at:
        raise KeyboardInterrupt
    if kept < at:
        keep(at)
    raise Interrupted


def _begin(
    cfg: RunConfig, program: Program, compiled: Compiled, restored: Restored | None
) -> tuple[SeedState, int, float, str]:
    """Fresh state, or that of a checkpoint.

    Returns:
        State, iterations done, seconds spent before, and a note for the header.
    """
    who = members.arrays(cfg, program.members)
    if restored is None or not restored.state:
        return compiled.init(*who), 0, 0.0, restored.note if restored else ""
    whole = saved.is_whole(cfg, program)
    fresh = saved.shapes(cfg, program) if whole else compiled.init(*who)
    note = restored.note
    if not cfg.checkpoint.replay:
        note += " replay was not saved: it fills again, training goes on meanwhile."
    state = saved.resumed(fresh, restored.state)
    return state, restored.meta["iterations"], restored.meta["wall_s"], note.strip()


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
    position = Position(
        env_steps=(leg.first + leg.iterations) * program.ticks * program.worlds,
        updates=leg.update + made if training else 0,
        stage=program.stages[leg.stage].name,
    )
    tell = partial(_rows, cfg, position, jax.device_get(state.diverged_at))
    rows = _train_rows(tell, jax.device_get(tally))
    if leg.evaluate:
        rows += _test_rows(tell, jax.device_get(compiled.evaluate(state)))
    return state, rows, made


def _train_rows(tell: Tell, tally: Tally) -> list[Row]:
    """One row a member: means over the episodes that ended and the updates made."""
    games = tally.episodes
    with np.errstate(invalid="ignore", divide="ignore"):
        means = EpisodeMeans(
            ret=games.ret / games.count,
            win_rate=games.won / games.count,
            length=games.length / games.count,
            episodes=games.count,
        )
        measured = {name: tally.sums[name] / tally.counts[name] for name in tally.sums}
    return tell("train", means, measured)


def _test_rows(tell: Tell, played: EvalResult) -> list[Row]:
    """One row a member: means over its greedy episodes, and metrics of its roles."""
    means = EpisodeMeans(
        ret=played.ret.mean(1),
        win_rate=played.won.mean(1),
        length=played.length.mean(1),
        episodes=np.full(len(played.ret), played.ret.shape[1]),
    )
    return tell("test", means, played.roles)


def _rows(
    cfg: RunConfig,
    position: Position,
    diverged_at: np.ndarray,
    split: str,
    means: EpisodeMeans,
    measured: Mapping[str, Any],
) -> list[Row]:
    """One row a member, of arrays `[members]`."""
    rows = []
    for i, member in enumerate(members.members(cfg)):
        own = EpisodeMeans(*(column[i].item() for column in means))
        other = {name: column[i].item() for name, column in measured.items()}
        at = diverged_at[i].item()
        frozen_at = None if at == GOING_ON else at
        rows.append(make_row(member, position, split, own, other, frozen_at))
    return rows


def _header(
    cfg: RunConfig, program: Program, compiled: Compiled, done: int, note: str
) -> RunHeader:
    surplus = program.members - members.count(cfg)
    if surplus:
        more = f"{surplus} more are computed and dropped, so that all devices "
        note = f"{more}take the same number of them. {note}".strip()
    return RunHeader(
        device=f"{device_name()} x {len(jax.devices())}",
        footprint=compiled.footprint,
        compile_seconds=compiled.seconds,
        store=program.replay.store.name,
        resumed_at=done * program.ticks * program.worlds,
        note=note,
    )
