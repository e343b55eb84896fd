"""Role methods, one a file, found by name; each makes a ``RoleMethod`` record."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from rolemarl_jax.config import ConfigError, build, nearest
from rolemarl_jax.roles.base import RoleMethod
from rolemarl_jax.types import EnvSpec


def known() -> list[str]:
    """Names of the role methods that this package holds."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name != "base")


def make_method(values: Mapping[str, Any], spec: EnvSpec) -> RoleMethod:
    """Makes the role method that ``algo.role`` describes.

    Raises:
        ConfigError: unknown name, unknown or ill-typed key, impossible sizes.
    """
    name = values.get("name", "")
    if name not in known():
        raise ConfigError(f"algo.role.name: got '{name}'; {nearest(name, known())}")
    module = importlib.import_module(f"{__name__}.{name}")
    return module.make(build(module.Config, values, "algo.role"), spec)
