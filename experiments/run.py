"""Trains one algorithm in one world over many seeds at once.

python -m experiments.run algo=acorm env=smax
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rolemarl_jax import stops

if TYPE_CHECKING:
    from rolemarl_jax.learners.parts.learner import Learner
    from rolemarl_jax.run_config import RunConfig
    from rolemarl_jax.types import Env


def main() -> None:
    """Entry point; see ``--help``. Signals are heard before anything is imported."""
    stops.obeyed(_launch)


def _launch() -> None:
    from experiments.door import cli

    cli.launch(train, check=check)


def check(cfg: "RunConfig") -> None:
    """Refuses what training would refuse before it compiles.

    Raises:
        ConfigError: the configuration cannot be run.
    """
    import envs
    from rolemarl_jax.bridge.config import BridgeConfig, check_bridge
    from rolemarl_jax.bridge.opening import check_run
    from rolemarl_jax.config import build
    from rolemarl_jax.program.program import make_program
    from rolemarl_jax.report import loggers
    from rolemarl_jax.run.legs import lay_out
    from rolemarl_jax.types import Remote

    loggers.check(cfg.logger)
    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        bridge = build(BridgeConfig, cfg.bridge, "bridge")
        check_bridge(bridge)
        check_run(cfg, bridge, world)
    else:
        learner = _learner(cfg, world)
        lay_out(cfg, make_program(cfg, world, learner))


def train(cfg: "RunConfig") -> None:
    """Trains all seeds, and prints what to type next.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        SystemExit: status 130 or 143 when the run was asked to stop, 1 when it had
            to, or when nothing learns any more.
    """
    from experiments.door.again import command
    from rolemarl_jax.run.observer import Interrupted, StoppedError

    where = f"run_dir={cfg.run_dir}"
    again = command("run", where, "resume=true")
    early = f"Next:\n  {again}\n  {command('summarise', where)}"
    try:
        _train(cfg)
    except Interrupted:
        print(early)
        sys.exit(stops.status())
    except StoppedError:
        print(early)
        sys.exit(1)
    if cfg.sweep.plan_only:
        return
    _require_learners(cfg)
    print(
        "Next:",
        command("evaluate", where, "episodes=320"),
        command("report", where),
        command("plot", f"runs={cfg.run_dir}"),
        f"{again} total_steps={2 * cfg.total_steps}",
        sep="\n  ",
    )


def _require_learners(cfg: "RunConfig") -> None:
    """Ends the command where every member has diverged: its files tell of no learning.

    Raises:
        SystemExit: status 1.
    """
    from rolemarl_jax import members
    from rolemarl_jax.report import ranking, summary

    found = summary.read(Path(cfg.run_dir))
    if found is None or len(found.frozen) < members.count(cfg):
        return
    told = ranking.frozen(found.frozen)
    print(
        f"Nothing learns any more: {told}: {ranking.remedy(cfg.algo)}", file=sys.stderr
    )
    sys.exit(1)


def _train(cfg: "RunConfig") -> None:
    """Hands a world to whoever trains in its kind; both are made once."""
    import envs
    from rolemarl_jax.bridge.train import train_remote
    from rolemarl_jax.report import loggers
    from rolemarl_jax.sweep.train import train_compiled
    from rolemarl_jax.types import Remote

    if not cfg.sweep.plan_only:
        loggers.check(cfg.logger)
    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        train_remote(cfg, world)
    else:
        train_compiled(cfg, world, _learner(cfg, world))


def _learner(cfg: "RunConfig", world: "Env") -> "Learner":
    """The learner of a compiled world, which may begin with another run's parameters.

    Raises:
        ConfigError: it cannot be made, or those do not fit.
    """
    import envs
    from rolemarl_jax.disk import rundir
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.run import warm
    from rolemarl_jax.types import Env

    learner = make_learner(cfg.algo, world.spec)
    if cfg.init_from is None or warm.goes_on(cfg):
        return learner
    trained = envs.make(rundir.load(cfg.init_from)["env"])
    spec = trained.spec if isinstance(trained, Env) else world.spec
    return warm.begun(cfg, learner, spec)


if __name__ == "__main__":
    main()
