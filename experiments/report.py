"""One HTML file that shows a run: results, curves, pictures, configuration.

python -m experiments.report run_dir=runs/a out=report.html
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.door import cli
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import page

OPTIONS = {
    "run_dir": ...,
    "out": None,  # report.html in run_dir by default
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _report(argv))


def _report(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv)
    run_dir = Path(str(asked["run_dir"]))
    out = Path(str(asked["out"])) if asked["out"] else run_dir / rundir.REPORT
    print(page.write(run_dir, out))


if __name__ == "__main__":
    main()
