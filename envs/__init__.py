"""Environments, found by name: compiled ones, and those that the bridge plays.

Every plain module of this package and of ``bridged`` is one environment: it has a
``Config`` record with a field ``name`` and a function ``make(cfg)`` that gives an
``Env``, or, in ``bridged``, a ``Remote``, which needs processes of its own. Code that
environments share lives in the other sub-packages. Adding an environment is adding one
module and one YAML file of the same name under ``configs/env/``. A name with a dot in
it is the path of a compiled world's module in a project of one's own.
"""

import contextlib
import importlib
import io
import pkgutil
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from envs import bridged
from rolemarl_jax import outside
from rolemarl_jax.config import ConfigError, build, require_name
from rolemarl_jax.types import Env, Remote

KEY = "env.name"


def known() -> tuple[str, ...]:
    """Names of all environments, without importing any of them."""
    return tuple(sorted(_modules()))


def _modules() -> dict[str, str]:
    """Modules of environments by name."""
    return {
        found.name: f"{package.__name__}.{found.name}"
        for package in (sys.modules[__name__], bridged)
        for found in pkgutil.iter_modules(package.__path__)
        if not found.ispkg
    }


def module_of(values: Mapping[str, Any]) -> ModuleType:
    """The module of the environment that ``values["name"]`` names.

    Raises:
        ConfigError: unknown environment, or a path to what is none.
    """
    if outside.is_path(path := values.get("name")):
        return outside.module(KEY, path, [Env])
    name = require_name(KEY, values.get("name"), known())
    # JaxMARL prints about optional parts of itself on import.
    with contextlib.redirect_stdout(io.StringIO()):
        return importlib.import_module(_modules()[name])


def is_bridged(module: ModuleType) -> bool:
    """Whether a module's worlds play in processes of their own."""
    return module.__name__.startswith(f"{bridged.__name__}.")


def make(values: Mapping[str, Any]) -> Env | Remote:
    """Makes the environment that ``values["name"]`` names.

    Args:
        values: all keys of the environment's configuration, as in its YAML file.

    Raises:
        ConfigError: unknown environment, unknown or missing key, bad value.
    """
    module = module_of(values)
    made = module.make(build(module.Config, values, "env"))
    if not is_bridged(module):
        outside.require_made(KEY, made, Env)
    return made


def make_compiled(values: Mapping[str, Any]) -> Env:
    """The same, for those who cannot do with a world of the bridge.

    Raises:
        ConfigError: as ``make``, and a world that is not compiled.
    """
    world = make(values)
    if isinstance(world, Remote):
        raise ConfigError(
            f"env.name: got {values['name']!r}, which plays in processes of its own; "
            "allowed here: worlds that are compiled, such as smax"
        )
    return world
