"""Learning curves of one or more runs in one picture.

python -m experiments.plot runs=[runs/a,runs/b] out=curves.png
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from experiments.door import cli
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import plotting


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the options and draws."""
    cli.guard(lambda: _plot(argv))


def labels(runs: Sequence[str]) -> list[str]:
    """Short names: the algorithm, with world and directory where they tell apart.

    Raises:
        ConfigError: a directory holds no run, or none that has measured anything.
    """
    configs = [rundir.load(run) for run in runs]
    for run in runs:
        if not (Path(run) / rundir.METRICS).is_file():
            raise ConfigError(f"runs: '{run}' has no {rundir.METRICS} yet")
    algos = [str(c["algo"]["name"]) for c in configs]
    worlds = [f"{c['env']['name']}/{c['env'].get('map', '')}" for c in configs]
    names = [
        f"{algo} on {world.rstrip('/')}" if len(set(worlds)) > 1 else algo
        for algo, world in zip(algos, worlds, strict=True)
    ]
    times = Counter(names)
    return [
        f"{name} ({Path(run).name})" if times[name] > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def _plot(argv: Sequence[str] | None) -> None:
    asked = cli.options({"runs": ..., "out": "curves.png", "title": ""}, argv)
    runs = asked["runs"] if isinstance(asked["runs"], list) else [asked["runs"]]
    runs = [str(run) for run in runs]
    if len(set(runs)) < max(1, len(runs)):
        raise ConfigError(f"runs: got {runs}; allowed: one or more directories, once")
    sources = dict(zip(labels(runs), runs, strict=True))
    print(plotting.curves(sources, str(asked["out"]), str(asked["title"])))


if __name__ == "__main__":
    main()
