"""What runs are called, in pictures and pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, rundir


def world(config: Mapping[str, Any]) -> str:
    """``smax/3m``, or the name alone where a world has no maps."""
    env = config["env"]
    parts = (env.get("name"), place(env))
    return "/".join(str(part) for part in parts if part is not None)


def place(env: Mapping[str, Any]) -> str | None:
    """What tells a world from others of one environment: its map, task or teams."""
    if "id" in env:  # gymma
        return str(env["id"])
    if env.get("map") is None:
        return None
    if {"allies", "enemies"} <= env.keys() and env["map"] == "custom":  # smax
        return f"custom_{_team(env['allies'])}_vs_{_team(env['enemies'])}"
    if {"units", "enemies"} <= env.keys():  # smacv2, as the papers name its battles
        return f"{env['map']}_{env['units']}_vs_{env['enemies']}"
    return str(env["map"])


def _team(units: Mapping[str, Any] | None) -> str:
    """``2stalker+3zealot``."""
    return "+".join(f"{count}{kind}" for kind, count in sorted((units or {}).items()))


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
            if not files.is_file(Path(run) / rundir.METRICS, "runs"):
                raise ConfigError(f"runs: '{run}' has no {rundir.METRICS} yet")
            good.append(run)
        except ConfigError as error:
            broken[run] = str(error)
    return good, broken


class Tracked(NamedTuple):
    """What a run is called where many are listed, as by wandb.

    Attributes:
        name: ``acorm-smax-3m``.
        seeds: ``-seed0`` or ``-seeds0to4``.
        tags: algorithm, world, map and preset.
    """

    name: str
    seeds: str
    tags: tuple[str, ...]


def tracked(config: Mapping[str, Any]) -> Tracked:
    """Names that a person can read, from the configuration of a run."""
    own, env = config.get("algo", {}), config.get("env", {})
    parts = (own.get("name"), env.get("name"), place(env))
    tags = tuple(str(part) for part in parts if part is not None)
    first, count = config.get("seed", 0), config.get("seeds", 1)
    seeds = f"-seeds{first}to{first + count - 1}" if count > 1 else f"-seed{first}"
    preset = (str(config["preset"]),) if "preset" in config else ()
    return Tracked("-".join(tags) or "run", seeds, (*tags, *preset))
