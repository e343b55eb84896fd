"""Trains one algorithm in one world over many seeds at once.

python -m experiments.run algo=acorm env=smax
"""

import sys
from pathlib import Path

from experiments.door import cli
from rolemarl_jax.config import RunConfig


def main() -> None:
    """Entry point; see ``--help``."""
    cli.launch(train)


def train(cfg: RunConfig) -> None:
    """Trains all seeds, and prints what to type next.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        SystemExit: status 130 when the run was asked to stop, 1 when it had to, or
            when nothing learns any more.
    """
    from rolemarl_jax.run.observer import Interrupted, StoppedError

    again = f"python -m experiments.run run_dir={cfg.run_dir} resume=true"
    try:
        _train(cfg)
    except Interrupted:
        print(f"Next:\n  {again}")
        sys.exit(cli.STOPPED)
    except StoppedError:
        print(f"Next:\n  {again}")
        sys.exit(1)
    if cfg.sweep.plan_only:
        return
    _require_learners(cfg)
    print(
        "Next:",
        f"python -m experiments.evaluate run_dir={cfg.run_dir} episodes=320",
        f"python -m experiments.report run_dir={cfg.run_dir}",
        f"{again} total_steps={2 * cfg.total_steps}",
        sep="\n  ",
    )


def _require_learners(cfg: RunConfig) -> None:
    """Ends the command where every member has diverged: its files tell of no learning.

    Raises:
        SystemExit: status 1.
    """
    from rolemarl_jax import members
    from rolemarl_jax.report import ranking, summary

    found = summary.read(Path(cfg.run_dir))
    if found is None or len(found.frozen) < members.count(cfg):
        return
    rates = " or ".join(f"algo.{name}" for name in cfg.algo if name.endswith("lr"))
    print(
        f"Nothing learns any more: {ranking.frozen(found.frozen)}. A loss or a "
        f"parameter was no finite number; lower {rates}",
        file=sys.stderr,
    )
    sys.exit(1)


def _train(cfg: RunConfig) -> None:
    """Hands a world to whoever trains in its kind; both are made once."""
    import envs
    from rolemarl_jax.bridge.train import train_remote
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.sweep.train import train_compiled
    from rolemarl_jax.types import Remote

    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        train_remote(cfg, world)
    else:
        train_compiled(cfg, world, make_learner(cfg.algo, world.spec))


if __name__ == "__main__":
    main()
