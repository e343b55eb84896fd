"""Learning curves of one or more runs in one picture.

python -m experiments.plot runs=[runs/a,runs/b] out=curves.png
"""

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
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _plot(argv))


def _plot(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv)
    runs = asked["runs"] if isinstance(asked["runs"], list) else [asked["runs"]]
    runs = [str(run) for run in runs]
    if len(set(runs)) < max(1, len(runs)):
        raise ConfigError(f"runs: got {runs}; allowed: one or more directories, once")
    sources = dict(zip(names.labels(runs), runs, strict=True))
    print(plotting.curves(sources, str(asked["out"]), str(asked["title"])))


if __name__ == "__main__":
    main()
