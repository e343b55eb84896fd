"""Plays greedy episodes with the last checkpoint of a run.

python -m experiments.evaluate run_dir=runs/acorm-smax-3m/... episodes=320
"""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.door import cli, devices
from rolemarl_jax.config import ConfigError, RunConfig
from rolemarl_jax.disk import rundir

OPTIONS = {
    "run_dir": ...,
    "episodes": 320,  # a seed
    "step": None,  # of a checkpoint; the newest by default
    "env": None,  # must be the run's own, if given
    "workers": None,  # of worlds in other processes; as in the run by default
    "python": None,  # interpreter of these; as in the run by default
}


def main() -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS)))


def _main(options: dict[str, Any]) -> None:
    cfg = _with_workers(rundir.load_config(options["run_dir"]), options)
    episodes = options["episodes"]
    if not isinstance(episodes, int) or episodes < 1:
        raise ConfigError(f"episodes: got {episodes!r}; allowed: a positive integer")
    devices.prepare_devices(cfg)
    from rolemarl_jax.report import evaluation

    parts = [
        _with_workers(rundir.load_config(part), options)
        for part in rundir.folders(cfg.run_dir)
    ]
    played = [play(part, episodes, options["step"]) for part in parts]
    record = evaluation.together(played)
    out = evaluation.write(Path(cfg.run_dir), record)
    print(evaluation.text(record))
    print(f"written to {out}")


def play(cfg: RunConfig, episodes: int, step: int | None) -> dict[str, Any]:
    """Hands a world to whoever plays its kind.

    Args:
        cfg: of the run, or of one of its chunks.
        episodes: a seed.
        step: of the checkpoint, ``None`` for the newest whole one.

    Returns:
        What ``evaluation.record`` makes of the episodes.
    """
    import envs
    from rolemarl_jax.bridge.exhibit import evaluate_remote
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.report import evaluation
    from rolemarl_jax.run import stored
    from rolemarl_jax.types import Remote

    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        return evaluation.record(cfg, *evaluate_remote(cfg, world, episodes, step))
    learner = make_learner(cfg.algo, world.spec)
    return evaluation.record(cfg, stored.evaluate(cfg, world, learner, episodes, step))


def _with_workers(cfg: RunConfig, options: dict[str, Any]) -> RunConfig:
    """The run's configuration, with what an evaluation may change."""
    name = cfg.env["name"]
    if options["env"] not in (None, name):
        raise ConfigError(f"env: got {options['env']!r}; this run plays '{name}'")
    asked = {key: options[key] for key in ("workers", "python") if options[key]}
    if asked and not cfg.bridge:
        raise ConfigError(f"{next(iter(asked))}: env={name} needs no worker processes")
    return dataclasses.replace(cfg, bridge={**cfg.bridge, **asked})


if __name__ == "__main__":
    main()
