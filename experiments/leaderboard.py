"""All algorithms in all worlds as one page, from the summaries of finished runs.

python -m experiments.leaderboard runs=docs/results out=docs/leaderboard.md
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.door import cli
from experiments.door.cli import Option
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files
from rolemarl_jax.report import gather, leaderboard

OPTIONS = {
    "runs": Option(
        ..., "run directories, folders that hold some, or patterns such as 'runs/*'"
    ),
    "out": Option(None, "a name in .md; printed by default"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Raises:
        SystemExit: status 2 for wrong options or where no run has finished, 1 where
            some were left out.
    """
    cli.guard(lambda: _leaderboard(argv))


def _leaderboard(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv, __doc__)
    out = None if asked["out"] is None else Path(str(asked["out"]))
    if out is not None and out.suffix.lower() != ".md":
        raise ConfigError(f"out: got '{out}'; allowed: a name in .md")
    if out is not None:
        files.require_writable(out, "out")
    runs = asked["runs"] if isinstance(asked["runs"], list) else [asked["runs"]]
    board = leaderboard.read(gather.folders(runs))
    text = leaderboard.page(board.entries)
    cli.hand_out(text, out)
    if board.broken:
        print("left out:", *board.broken.values(), sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
