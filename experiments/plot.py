"""Learning curves of one or more runs in one picture.

python -m experiments.plot runs=[runs/a,runs/b] out=curves.png
"""

import sys
from collections.abc import Sequence

from experiments.door import cli
from rolemarl_jax.config import ConfigError
from rolemarl_jax.report import names, plotting

OPTIONS = {
    "runs": ...,  # run directories
    "out": "curves.png",
    "title": "",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Raises:
        SystemExit: status 2 for wrong options or where no run can be read, 1 where some
            were left out.
    """
    cli.guard(lambda: _plot(argv))


def _plot(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv)
    runs = asked["runs"] if isinstance(asked["runs"], list) else [asked["runs"]]
    runs = [str(run) for run in runs]
    if len(set(runs)) < max(1, len(runs)):
        raise ConfigError(f"runs: got {runs}; allowed: one or more directories, once")
    good, broken = names.sifted(runs)
    if not good:
        raise ConfigError("\n".join(broken.values()))
    sources = dict(zip(names.labels(good), good, strict=True))
    print(plotting.curves(sources, str(asked["out"]), str(asked["title"])))
    if broken:
        print(f"error: {len(broken)} of {len(runs)} runs left out", file=sys.stderr)
        print(*broken.values(), sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
