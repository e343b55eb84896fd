"""Summary and curves of a run as far as it got, for one that was stopped.

python -m experiments.summarise run_dir=runs/acorm-smax-3m/20260101-120000
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import lock, rundir

OPTIONS = {"run_dir": Option(..., "directory of the run; no process may be using it")}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _main(cli.options(OPTIONS, argv, __doc__)))


def _main(asked: dict[str, Any]) -> None:
    from rolemarl_jax.report import findings, lines, summary
    from rolemarl_jax.run import session

    cfg = rundir.load_config(str(asked["run_dir"]))
    with lock.held(cfg.run_dir, "run_dir"):
        parts = [folder / rundir.METRICS for folder in rundir.folders(cfg.run_dir)]
        rows = [row for path in parts if path.is_file() for row in lines.read(path)]
        if not rows:
            raise ConfigError(f"run_dir: '{cfg.run_dir}' has no {rundir.METRICS} yet")
        got, seeds = findings.reached(rows), len(findings.evaluated(rows))
        known = summary.known(Path(cfg.run_dir))
        if known is not None and (known.env_steps, known.seeds) == (got, seeds):
            places = session.told(Path(cfg.run_dir), known)
        else:
            places = session.stopped(cfg, rows)
    print(f"{cfg.run_dir}: {got:,} of {cfg.total_steps:,} env steps a seed")
    for label, place in places.items():
        print(f"  {label}: {place}")


if __name__ == "__main__":
    main()
