"""Trains one algorithm in one world over many seeds at once.

python -m experiments.run algo=acorm env=smax
"""

import time
from pathlib import Path
from typing import Any

from experiments import cli, rundir
from rolemarl_jax.config import RunConfig


def main() -> None:
    """Entry point; see ``--help``."""
    cli.launch(train)


def train(cfg: RunConfig) -> None:
    """Runs one experiment in this process."""
    import envs
    from rolemarl_jax import loggers, runner
    from rolemarl_jax.learners import make_learner

    env = envs.make(cfg.env)
    learner = make_learner(cfg.algo, env.spec)
    run_dir = rundir.create(cfg)
    logger = loggers.make(cfg.logger, run_dir, rundir.load(run_dir))
    def moved(p: Any) -> None:
        t = [r for r in p.rows if r["split"] == "test"]
        if t: print(p.stage, p.env_steps, p.updates, [r["win_rate"] for r in t], round(p.seconds, 1), p.steps_done / p.seconds, flush=True)
    runner.run(cfg, env, learner, logger, runner.Observer(print, moved))


if __name__ == "__main__":
    main()
