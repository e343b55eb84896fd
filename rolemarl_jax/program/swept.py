"""Swept hyper-parameters, held to what the keys allow that they stand in for."""

from collections.abc import Iterator, Mapping
from typing import Any

from rolemarl_jax import learners, members, roles
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.roles.parts.shaping import make_shaping
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import EnvSpec

WEIGHT = "weight_"  # of a loss, as a hyper-parameter
# Hyper-parameters whose keys have names of their own, below ``algo``.
OTHERS = {
    "tau": ("target.tau", "slow_target"),
    "world_lr": ("role.world.lr",),
    "classifier_lr": ("shaping.lr",),
}


def keys(name: str) -> tuple[str, ...]:
    """Dotted keys below ``algo`` that a hyper-parameter may stand in for."""
    loss = name.removeprefix(WEIGHT)
    weight = (f"loss_scales.{loss}",) if loss != name else ()
    parts = f"role.{name}", f"shaping.{name}"
    return name, *weight, *parts, *OTHERS.get(name, ())


def check(cfg: RunConfig, learner: Learner) -> None:
    """Refuses what ``members.check`` refuses, and values that a key could not have.

    Args:
        cfg: of the run.
        learner: made from ``cfg.algo``.

    Raises:
        ConfigError: names each value.
    """
    members.check(cfg, learner.hypers)
    lines = [
        line
        for name, values in cfg.sweep.hypers.items()
        for value in values
        for line in _faults(cfg.algo, learner.spec, name, value)
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def _faults(
    algo: Mapping[str, Any], spec: EnvSpec, name: str, value: float
) -> Iterator[str]:
    """What the key says of a value; nothing where a method has no key of that name."""
    key = next((key for key in keys(name) if _has(algo, key)), None)
    if key is None:
        return
    try:
        _build(_replaced(algo, key.split("."), value), key.partition(".")[0], spec)
    except ConfigError as error:
        for line in str(error).splitlines():
            where, _, told = line.partition(": ")
            if where == f"algo.{key}":
                yield f"sweep.hypers.{name}: {told} (as {where})"


def _build(algo: Mapping[str, Any], section: str, spec: EnvSpec) -> None:
    """Checks the keys of the learner, or of its role method or shaping."""
    if section == "role":
        values = algo["role"]
        build(roles.module_of(values).Config, values, "algo.role")
    elif section == "shaping":
        make_shaping(algo["shaping"], spec)
    else:
        build(learners.module_of(algo).Config, algo, "algo")


def _has(node: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _replaced(node: Mapping[str, Any], path: list[str], value: float) -> dict[str, Any]:
    """A copy of nested mappings with one value replaced."""
    first, *rest = path
    return {**node, first: _replaced(node[first], rest, value) if rest else value}
