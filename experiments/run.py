"""Trains one algorithm in one world over many seeds at once.

python -m experiments.run algo=acorm env=smax
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments import chunks, cli, rundir, shares
from rolemarl_jax import members
from rolemarl_jax.config import RunConfig

REDRAW_EVERY = 20.0  # seconds, at least, between two versions of curves.png


def main() -> None:
    """Entry point; see ``--help``."""
    cli.launch(train)


def train(cfg: RunConfig) -> None:
    """Runs all seeds in this process, in chunks where they do not fit at once.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        SystemExit: with status 130 when the run was asked to stop.
    """
    if shares.wanted(cfg) and not cfg.sweep.plan_only:
        _train_chunks(*shares.settle(cfg))
        return
    chosen = chunks.plan(cfg)
    if cfg.sweep.plan_only:
        return
    if chosen.sweep.chunk is None or chosen.sweep.chunk >= cfg.seeds:
        train_together(chosen)
        return
    _train_chunks(chosen, shares.ALONE)


def _train_chunks(cfg: RunConfig, share: shares.Share) -> None:
    """Chunks of this process, and one summary of all that are finished."""
    began = time.monotonic()
    told: dict[str, str] = {}

    def merged() -> None:
        places = _finish(cfg, {"wall_seconds": time.monotonic() - began})
        told.update({key: places[key] for key in ("ranking", "note") if key in places})

    chunks.run(cfg, train_together, merged, share)
    if chunks.complete(cfg):
        print(f"all {cfg.seeds} seeds: {cfg.run_dir}", *told.values(), sep="\n")
    else:
        print(f"process {share.process} is done, others are not: {cfg.run_dir}")


def train_together(cfg: RunConfig) -> None:
    """Runs all seeds in one program, and leaves its files in ``run_dir``.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        SystemExit: with status 130 when the run was asked to stop.
    """
    import envs
    from rolemarl_jax import bridge_runner, runner
    from rolemarl_jax.types import Remote

    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        with bridge_runner.opened(cfg, world) as pool:
            _train(cfg, pool.spec, partial(bridge_runner.run, cfg, pool))
    else:
        _train(cfg, world.spec, partial(runner.run, cfg, world))


def _train(cfg: RunConfig, spec: Any, play: Callable[..., Any]) -> None:
    """Runs ``play(learner, open_logger, observer)`` with display and files."""
    from rolemarl_jax import bridge_runner, loggers, progress, runner
    from rolemarl_jax.learners import make_learner

    learner = make_learner(cfg.algo, spec)
    display = progress.make()
    told: dict[str, Any] = {"drawn": time.monotonic(), "speed": {}}

    def started(facts: runner.Facts) -> None:
        rundir.create(cfg)
        told["speed"]["compile_seconds"] = facts.compile_seconds
        display.header(f"{cfg.algo['name']} on {spec.name}", _header(cfg, facts))

    def moved(now: runner.Progress) -> None:
        told["speed"]["steps_per_second"] = now.steps_done / now.seconds
        told["speed"]["updates_per_second"] = now.updates_done / now.seconds
        told["speed"]["wall_seconds"] = now.rows[-1]["wall_s"]
        display.update(_status(cfg, now))
        if time.monotonic() - told["drawn"] > REDRAW_EVERY:
            _draw(cfg)
            told["drawn"] = time.monotonic()

    def open_logger(start: int) -> loggers.Logger:
        return loggers.make(
            cfg.logger, Path(cfg.run_dir), rundir.load(cfg.run_dir), start
        )

    def stopping() -> None:
        again = "once more stops at once, and keeps what was saved before"
        display.note(f"stopping after the part that is being computed; {again}")

    try:
        more = play(learner, open_logger, runner.Observer(started, moved, stopping))
    except runner.Interrupted:
        display.close({"stopped, saved in": cfg.run_dir}, [_command(cfg, "run", True)])
        sys.exit(cli.STOPPED)
    except bridge_runner.StoppedError as error:
        reached = {"stopped": str(error), "saved in": cfg.run_dir}
        display.close(reached, [_command(cfg, "run", True)])
        sys.exit(1)
    except BaseException:
        display.close({}, [])
        raise
    told["speed"].update(more or {})
    display.close(_finish(cfg, told["speed"]), _next_commands(cfg))


def _header(cfg: RunConfig, facts: Any) -> dict[str, str]:
    """What the header shows, by label."""
    return {
        "device": facts.device,
        "seeds": f"{cfg.seed} to {cfg.seed + cfg.seeds - 1}{members.times(cfg)}",
        "length": f"{cfg.total_steps:,} env steps a seed",
        "parameters": f"{facts.memory.parameters:,} a seed",
        "memory": f"{facts.memory.state / 2**20:.1f} MiB a seed, of which "
        f"{facts.memory.replay / 2**20:.1f} MiB replay ({facts.store}), and "
        f"{facts.memory.working / 2**20:.1f} MiB while computing",
        "compiled in": f"{facts.compile_seconds:.1f} s",
        "run_dir": cfg.run_dir,
        **({"resumed at": f"{facts.resumed_at} env steps"} if cfg.resume else {}),
        **({"note": facts.note} if facts.note else {}),
    }


def _status(cfg: RunConfig, now: Any) -> Any:
    """The display's view of a leg: test results if there are new ones."""
    from rolemarl_jax import progress

    tests = [row for row in now.rows if row["split"] == "test"]
    rows = tests or now.rows
    return progress.Status(
        stage=rows[0]["stage"],
        env_steps=rows[0]["env_steps"],
        total_steps=max(cfg.total_steps, rows[0]["env_steps"]),
        updates=rows[0]["updates"],
        seeds=members.count(cfg),
        returns=[row["return"] for row in rows],
        win_rates=[row["win_rate"] for row in rows],
        frozen=sum("frozen_at" in row for row in rows),
        unit="members" if cfg.sweep.hypers else "seeds",
    )


def _draw(cfg: RunConfig) -> None:
    from rolemarl_jax import plotting

    label = str(cfg.algo["name"])
    title = " ".join(str(cfg.env[key]) for key in ("name", "map") if key in cfg.env)
    plotting.curves({label: cfg.run_dir}, Path(cfg.run_dir) / "curves.png", title)


def _finish(cfg: RunConfig, speed: Mapping[str, float]) -> dict[str, str]:
    """Writes what a finished run leaves behind; says where it is."""
    from rolemarl_jax import loggers, ranking, summary

    run_dir = Path(cfg.run_dir)
    _draw(cfg)
    rows = loggers.read(run_dir / loggers.METRICS)
    record = summary.summarise(cfg, rows, speed)
    diverged = ranking.frozen(record["frozen"])
    return {
        **_last(run_dir, record),
        **({"note": diverged} if diverged else {}),
        "curves": str(run_dir / "curves.png"),
        "summary": str(summary.write(run_dir, record)),
        "metrics": str(run_dir / loggers.METRICS),
    }


def _last(run_dir: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """What was reached, by combination where there are several."""
    from rolemarl_jax import ranking

    if "ranking" in record:
        path = ranking.write(run_dir, record)
        return {"ranking": f"{path}\n\n{ranking.table(record['ranking'])}\n"}
    last = record["last_three"]["win_rate"]
    told = f"{last['iqm']:.3f} [{last['low']:.3f}, {last['high']:.3f}]"
    what = "mean of the last three evaluations (interquartile mean over seeds, 95 %"
    return {"win rate": f"{told}, {what} interval)"}


def _next_commands(cfg: RunConfig) -> Sequence[str]:
    return [
        _command(cfg, "evaluate", False) + " episodes=320",
        _command(cfg, "report", False),
        _command(cfg, "run", True) + f" total_steps={2 * cfg.total_steps}",
    ]


def _command(cfg: RunConfig, module: str, resume: bool) -> str:
    more = " resume=true" if resume else ""
    return f"python -m experiments.{module} run_dir={cfg.run_dir}{more}"


if __name__ == "__main__":
    main()
