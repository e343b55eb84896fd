"""A run as a person sees it: display, files, curves and a summary around the host loop.

Whoever plays (compiled worlds, or those of the bridge) is handed in.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rolemarl_jax import members
from rolemarl_jax.disk import files, lock, rundir
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.report import (
    findings,
    headline,
    loggers,
    names,
    plotting,
    progress,
    provenance,
    ranking,
    summary,
)
from rolemarl_jax.run import observer
from rolemarl_jax.run_config import RunConfig

REDRAW_EVERY = 20.0  # seconds, at least, between two versions of curves.png


class Play(Protocol):
    """A host loop, with all but its surroundings given."""

    def __call__(
        self, open_logger: Callable[[int], loggers.Logger], out: observer.Observer
    ) -> Mapping[str, Any] | None:
        """Trains to the end; returns what the summary says besides, if anything."""
        ...


def run(cfg: RunConfig, learner: Learner, play: Play) -> None:
    """Plays all seeds of one program, and leaves their files in ``run_dir``.

    Raises:
        ConfigError: the configuration cannot be run, and nothing was written; or
            another process uses ``run_dir``.
        Interrupted, StoppedError: the run ended early, and is saved.
    """
    with held(cfg):
        _run(cfg, learner, play)


@contextmanager
def held(cfg: RunConfig) -> Iterator[None]:
    """Keeps ``run_dir`` for this process, from before anything is compiled.

    Raises:
        ConfigError: another process uses it, or a new run would mix with an old one;
            or its disk is full; or checkpoints would not be found there.
    """
    rundir.require_plain(cfg.run_dir)
    with files.full_disk_told(cfg.run_dir), lock.held(cfg.run_dir, "run_dir"):
        # Only now: one that was found fresh before may have been used meanwhile.
        if not cfg.resume:
            rundir.require_fresh(cfg.run_dir)
        yield


def _run(cfg: RunConfig, learner: Learner, play: Play) -> None:
    provenance.commit()  # of the code that runs, not of what lies there at the end
    display = progress.make()
    drawn, speed, seen = time.monotonic(), {}, _Seen()

    def started(header: observer.RunHeader) -> None:
        rundir.create(cfg)
        speed["compile_seconds"] = header.compile_seconds
        display.header("", _header(cfg, header))
        display.waiting("first steps")

    def moved(now: observer.LegReport) -> None:
        nonlocal drawn, seen
        seen = _after(seen, now.rows)
        speed["steps_per_second"] = now.steps_done / now.seconds
        speed["updates_per_second"] = now.updates_done / now.seconds
        speed["wall_seconds"] = now.rows[-1]["wall_s"]
        display.update(_status(cfg, now, seen))
        if time.monotonic() - drawn > REDRAW_EVERY:
            draw(cfg)
            drawn = time.monotonic()

    def open_logger(start: int) -> loggers.Logger:
        record = rundir.load(cfg.run_dir)
        return loggers.make(cfg.logger, Path(cfg.run_dir), record, start)

    def stopping() -> None:
        again = "once more stops at once, and keeps what was saved before"
        display.note(f"stopping after the part that is being computed; {again}")

    display.header(f"{cfg.algo['name']} on {learner.spec.name}", _asked(cfg))
    display.waiting("compiling")
    try:
        more = play(open_logger, observer.Observer(started, moved, stopping))
    except observer.Interrupted:
        display.close({"stopped, saved in": cfg.run_dir})
        raise
    except observer.StoppedError as error:
        display.close({"stopped": str(error), "saved in": cfg.run_dir})
        raise
    except BaseException:
        display.close({})
        raise
    trained = "wall_seconds" in speed
    known = None if trained else summary.known(Path(cfg.run_dir))
    if known is not None and summary.is_whole(known, cfg):
        # It tells how fast, where and by which code the run was made; this process does
        # not know.
        display.close(places(Path(cfg.run_dir), known))
    else:
        display.close(finish(cfg, {**speed, **(more or {})}))


def draw(cfg: RunConfig, rows: Sequence[loggers.Row] | None = None) -> None:
    """Redraws the curves of a run from its rows, which are read if not given."""
    label = str(cfg.algo["name"])
    title = names.world({"env": cfg.env}).replace("/", " ", 1)
    source = cfg.run_dir if rows is None else rows
    plotting.curves({label: source}, Path(cfg.run_dir) / rundir.CURVES, title)


def finish(cfg: RunConfig, speed: Mapping[str, Any]) -> dict[str, str]:
    """Writes what a finished run leaves behind.

    Returns:
        What was reached and where it is, by label.
    """
    run_dir = Path(cfg.run_dir)
    draw(cfg)
    rows = loggers.read(run_dir / rundir.METRICS)
    values = findings.summarise(cfg, rows, speed)
    return {
        **_written(run_dir, values),
        "metrics": str(run_dir / rundir.METRICS),
    }


def stopped(cfg: RunConfig, rows: Sequence[loggers.Row]) -> dict[str, str]:
    """The same of a run that was stopped, as far as it got; resuming it is as before.

    Where it was computed is left open: this process knows of itself only.
    """
    run_dir = Path(cfg.run_dir)
    draw(cfg, rows)
    took = {"wall_seconds": max(row.get("wall_s", 0.0) for row in rows)}
    values = findings.summarise(cfg, rows, took)
    unknown = {"device": None, "versions": {}, "commit": None}
    return _written(run_dir, {**values, **unknown})


def _written(run_dir: Path, values: Mapping[str, Any]) -> dict[str, str]:
    """Writes the summary, and tells of it and of the curves."""
    summary.write(run_dir, values)
    return places(run_dir, summary.parsed(values))


def places(run_dir: Path, found: summary.Summary) -> dict[str, str]:
    """What was reached and where it is, by label."""
    diverged = ranking.frozen(found.frozen)
    return {
        **told(run_dir, found),
        **({"note": diverged} if diverged else {}),
        "curves": str(run_dir / rundir.CURVES),
        "summary": str(run_dir / rundir.SUMMARY),
    }


def told(run_dir: Path, found: summary.Summary) -> dict[str, str]:
    """What was reached, by combination where there are several."""
    if found.ranking:
        path = ranking.write(run_dir, found)
        return {"ranking": f"{path}\n\n{ranking.table(found.ranking)}\n"}
    key = found.measure
    number = headline.text(found.last_three[key], key, found.seeds)
    never = "; no episode was won" if key == "return" else ""
    return {headline.NAMES[key]: number + never}


def _asked(cfg: RunConfig) -> dict[str, str]:
    """What is known before anything is compiled, by label."""
    return {
        "seeds": f"{cfg.seed} to {cfg.seed + cfg.seeds - 1}{members.times(cfg)}",
        "length": f"{cfg.total_steps:,} env steps a seed",
        "run_dir": cfg.run_dir,
    }


def _header(cfg: RunConfig, header: observer.RunHeader) -> dict[str, str]:
    """What is known of the compiled run, by label."""
    return {
        "device": header.device,
        "parameters": f"{header.footprint.parameters:,} a seed",
        "memory": f"{header.footprint.state / 2**20:.1f} MiB a seed, of which "
        f"{header.footprint.replay / 2**20:.1f} MiB replay ({header.store}), and "
        f"{header.footprint.working / 2**20:.1f} MiB while computing",
        "compiled in": f"{header.compile_seconds:.1f} s",
        **({"resumed at": f"{header.resumed_at} env steps"} if cfg.resume else {}),
        **({"note": header.note} if header.note else {}),
    }


class _Seen(NamedTuple):
    """The newest episodes of each kind, and whether any was ever won."""

    exploring: progress.Outcome = progress.Outcome()
    greedy: progress.Outcome = progress.Outcome()
    won: bool = False


def _after(seen: _Seen, rows: Sequence[loggers.Row]) -> _Seen:
    """What has been seen after further rows."""
    won = seen.won or headline.measure(rows) == "win_rate"
    kinds = {"train": seen.exploring, "test": seen.greedy}
    for split in kinds:
        own = [row for row in rows if row["split"] == split]
        if own:
            rates = [row["win_rate"] for row in own] if won else []
            returns = [row["return"] for row in own]
            kinds[split] = progress.Outcome(own[0]["env_steps"], returns, rates)
    return _Seen(kinds["train"], kinds["test"], won)


def _status(cfg: RunConfig, now: observer.LegReport, seen: _Seen) -> progress.Status:
    """The display's view of a leg."""
    row = now.rows[0]
    return progress.Status(
        stage=row["stage"],
        env_steps=row["env_steps"],
        total_steps=max(cfg.total_steps, row["env_steps"]),
        updates=row["updates"],
        seeds=members.count(cfg),
        exploring=seen.exploring,
        greedy=seen.greedy,
        frozen=len({_member(row) for row in now.rows if "frozen_at" in row}),
        unit="members" if cfg.sweep.hypers else "seeds",
    )


def _member(row: loggers.Row) -> tuple:
    return row["seed"], *members.of_row(row).items()
