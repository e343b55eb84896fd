"""What runs are called, in pictures and pages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir


def world(config: Mapping[str, Any]) -> str:
    """``smax/3m``, or the name alone where a world has no maps."""
    env = config["env"]
    return "/".join(str(env[key]) for key in ("name", "map") if key in env)


def labels(runs: Sequence[str]) -> list[str]:
    """Short names: the algorithm, with world and directory where they tell apart.

    Args:
        runs: run directories.

    Raises:
        ConfigError: a directory holds no run, or none that has measured anything.
    """
    configs = [rundir.load(run) for run in runs]
    for run in runs:
        if not (Path(run) / rundir.METRICS).is_file():
            raise ConfigError(f"runs: '{run}' has no {rundir.METRICS} yet")
    algos = [str(config["algo"]["name"]) for config in configs]
    worlds = [world(config) for config in configs]
    names = [
        f"{algo} on {where}" if len(set(worlds)) > 1 else algo
        for algo, where in zip(algos, worlds, strict=True)
    ]
    times = Counter(names)
    return [
        f"{name} ({Path(run).name})" if times[name] > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]
