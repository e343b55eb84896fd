"""All rows of a run as CSV, for spreadsheets and data frames.

python -m experiments.table run_dir=runs/a out=metrics.csv
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.door import cli
from rolemarl_jax.report import table

OPTIONS = {
    "run_dir": ...,
    "out": "metrics.csv",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _table(argv))


def _table(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv)
    print(table.rows_to_csv(Path(str(asked["run_dir"])), Path(str(asked["out"]))))


if __name__ == "__main__":
    main()
