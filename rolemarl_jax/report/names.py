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


def algo(config: Mapping[str, Any]) -> str:
    """Name of the algorithm, as far as a stored configuration tells it."""
    return str(config["algo"].get("name", "unnamed"))


def sifted(runs: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Runs that can be read, and what is wrong with the others.

    Args:
        runs: run directories.
    """
    good: list[str] = []
    broken: dict[str, str] = {}
    for run in runs:
        try:
            rundir.load(run)
            if not (Path(run) / rundir.METRICS).is_file():
                raise ConfigError(f"runs: '{run}' has no {rundir.METRICS} yet")
            good.append(run)
        except ConfigError as error:
            broken[run] = str(error)
    return good, broken


def labels(runs: Sequence[str]) -> list[str]:
    """Short names: the algorithm, with world and directory where they tell apart.

    Args:
        runs: run directories.

    Raises:
        ConfigError: a directory holds no run, or a damaged one.
    """
    configs = [rundir.load(run) for run in runs]
    algos = [algo(config) for config in configs]
    worlds = [world(config) for config in configs]
    names = [
        f"{name} on {where}" if len(set(worlds)) > 1 else name
        for name, where in zip(algos, worlds, strict=True)
    ]
    times = Counter(names)
    return [
        f"{name} ({Path(run).name})" if times[name] > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]
