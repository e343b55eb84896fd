"""Puts one seed of a finished run into a folder small enough to ship.

python -m experiments.release run_dir=runs/a out=released/a

Commands that show a run take the folder like a run's: evaluate, report, render, plot;
a new run begins with its parameters by init_from=. Training cannot go on with it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from experiments.door.devices import prepare_devices
from experiments.shows.choose import check_seed, chosen
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, lock, rundir
from rolemarl_jax.report import summary
from rolemarl_jax.run_config import RunConfig

OPTIONS = {
    "run_dir": Option(..., "directory of the run"),
    "out": Option(..., "folder that is made"),
    "seed": Option(
        None,
        "which; by default the median one by its last evaluation, of two the better",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _release(cli.options(OPTIONS, argv, __doc__)))


def _release(asked: dict[str, Any]) -> None:
    run_dir, out = Path(str(asked["run_dir"])), Path(str(asked["out"]))
    cfg = rundir.load_config(run_dir)
    files.require_folder(out, "out")
    if cfg.sweep.hypers:
        raise ConfigError(
            f"run_dir: '{run_dir}' has sweep.hypers of {', '.join(cfg.sweep.hypers)}; "
            "allowed: runs without sweep.hypers; train one with the value that is to "
            "be shipped, such as algo.lr=1e-3"
        )
    check_seed(run_dir, asked["seed"])
    _require_seeds(cfg, summary.read(run_dir), asked["seed"])
    picked = chosen(run_dir, asked["seed"])
    choice = picked[(len(picked) - 1) // 2]  # of two, the better one
    prepare_devices(cfg)
    # Only now may JAX be imported.
    import envs
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.run import released

    released.require_new(out)
    learner = make_learner(cfg.algo, envs.make_compiled(cfg.env).spec)
    told = json.loads((run_dir / rundir.SUMMARY).read_text(encoding="utf8"))
    with lock.read(cfg.run_dir, "run_dir"):
        member = choice.index, choice.seed
        released.release(choice.cfg, learner, member, told, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {choice.title}, {size / 2**20:.1f} MiB")


def _require_seeds(
    cfg: RunConfig, found: summary.Summary | None, seed: int | None
) -> None:
    """Refuses a run that has no summary, or none of all seeds to choose from.

    Raises:
        ConfigError: says how to finish it.
    """
    finish = "finish the run with resume=true"
    if found is None:
        raise ConfigError(
            f"run_dir: '{cfg.run_dir}' has no {rundir.SUMMARY}; {finish}, or sum it up "
            "with experiments.summarise"
        )
    if seed is None and found.seeds < cfg.seeds:
        raise ConfigError(
            f"run_dir: '{cfg.run_dir}' has evaluations of {found.seeds} of "
            f"{cfg.seeds} seeds; {finish}, or name one that is to be shipped by seed="
        )


if __name__ == "__main__":
    main()
