"""Role methods: every plain module of this package is one, found by its name.

Each makes a ``RoleMethod`` for value learners or a ``PolicyMethod`` for policy ones. A
name with a dot in it is the path of a method's module in a project of one's own.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeVar

from rolemarl_jax import outside
from rolemarl_jax.config import ConfigError, build, require_name
from rolemarl_jax.roles.parts.method import PolicyMethod, RoleMethod
from rolemarl_jax.types import EnvSpec

M = TypeVar("M")
KEY = "algo.role.name"
KINDS = (RoleMethod, PolicyMethod)


def known(kind: type | None = None) -> list[str]:
    """Names of the methods that this package holds, of one record type if given."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg)
    return names if kind is None else [name for name in names if _makes(name) is kind]


def _makes(name: str) -> type:
    """The record type that a method's ``make`` is annotated to return."""
    return importlib.import_module(f"{__name__}.{name}").make.__annotations__["return"]


def module_of(values: Mapping[str, Any]) -> ModuleType:
    """The module of the method that ``algo.role`` names.

    Raises:
        ConfigError: unknown name, or a path to what is no method.
    """
    if outside.is_path(path := values.get("name")):
        return outside.module(KEY, path, KINDS)
    name = require_name(KEY, values.get("name"), known())
    return importlib.import_module(f"{__name__}.{name}")


def make_method(
    values: Mapping[str, Any], spec: EnvSpec, kind: type[M] = RoleMethod
) -> M:
    """Makes the method that ``algo.role`` describes.

    Args:
        kind: the record that the learner works with.

    Raises:
        ConfigError: unknown name, a method for another learner, unknown or ill-typed
            key, impossible sizes.
    """
    name = values.get("name")
    if not outside.is_path(name) and name not in known():
        # A wrong name is told those that fit; one of another kind its own message.
        require_name(KEY, name, known(kind))
    module = module_of(values)
    if outside.makes(module) is not kind:
        raise ConfigError(
            f"{KEY}: got '{name}', which is for another algo.learner; "
            f"allowed: {', '.join(known(kind))}, or a module that makes a "
            f"{kind.__name__}"
        )
    made = module.make(build(module.Config, values, "algo.role"), spec)
    outside.require_made(KEY, made, kind)
    return made
