"""Modules of a user's own project: a name with a dot in it is a module's path.

``env.name=my_project.my_world`` and ``algo.role.name=my_project.my_method`` are found
as Python finds modules: in the directory that a command runs in, on ``PYTHONPATH``,
or installed.
"""

import importlib
import os
import sys
import typing
from collections.abc import Collection
from types import ModuleType
from typing import Any, TypeGuard

from rolemarl_jax.config import ConfigError

# Packages of ours that a project may have, too; in a command they are ours.
TAKEN = ("configs", "envs", "experiments")


def is_path(name: Any) -> TypeGuard[str]:
    """Whether a name is the path of a module of somebody's own."""
    return isinstance(name, str) and "." in name


def module(key: str, path: str, allowed: Collection[type]) -> ModuleType:
    """The module that a key names, which has a record and a function of ours.

    Args:
        key: dotted key that the path stands under.
        path: dotted path of the module.
        allowed: what its ``make`` may be annotated to return.

    Raises:
        ConfigError: no such module, one that cannot be imported, or one without
            ``Config`` and ``make`` of the right kind.
    """
    found = _imported(key, path)
    where, make = f"'{path}' ({found.__file__})", getattr(found, "make", None)
    record = getattr(found, "Config", None)
    fields = getattr(record, "__pydantic_fields__", None)
    if fields is None:
        raise ConfigError(
            f"{key}: {where} has {_got(record)} as Config; allowed: a class with "
            "@rolemarl_jax.config.config"
        )
    if "name" not in fields:
        raise ConfigError(f"{key}: {path}.Config has no field 'name'; add name: str")
    if not callable(make):
        raise ConfigError(
            f"{key}: {where} has {_got(make)} as make; allowed: a function "
            "make(cfg, ...)"
        )
    if makes(found) not in allowed:
        kinds = " or ".join(sorted(kind.__name__ for kind in allowed))
        raise ConfigError(
            f"{key}: {path}.make is annotated to return {_named(makes(found))}; "
            f"allowed: {kinds}"
        )
    return found


def makes(found: ModuleType) -> Any:
    """What a module's ``make`` is annotated to return; ``None`` if it is not."""
    try:
        return typing.get_type_hints(found.make).get("return")
    except NameError:  # a name that only type checkers import
        return found.make.__annotations__.get("return")


def require_made(key: str, made: Any, kind: type) -> None:
    """Refuses what a ``make`` returned if it is of another type.

    Raises:
        ConfigError: it is.
    """
    if not isinstance(made, kind):
        raise ConfigError(
            f"{key}: make returned {_got(made)}; allowed: a {kind.__name__}"
        )


def _imported(key: str, path: str) -> ModuleType:
    """The module, imported.

    Raises:
        ConfigError: it cannot be.
    """
    # Installed commands do not look where they are run, as `python -m` does; last,
    # so that nothing there takes the place of what is installed.
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(key, path, str(error.name))) from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{key}: importing '{path}' failed with {what}") from error


def _missing(key: str, path: str, name: str) -> str:
    """Message for a module that is not there, which may be one that ours imports."""
    why = (
        f"there is no module '{name}'"
        if path == name or path.startswith(f"{name}.")
        else f"it imports '{name}', which is not there"
    )
    if name.partition(".")[0] in TAKEN:
        top = name.partition(".")[0]
        return (
            f"{key}: got '{path}', but {why}: in a command '{top}' is the package of "
            "rolemarl_jax; give the one of your project another name"
        )
    return (
        f"{key}: got '{path}', but {why}; run where it lies, or name its directory in "
        f"PYTHONPATH (searched: {', '.join(filter(None, sys.path[:3]))}, ...)"
    )


def _got(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.60}"


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", None) or ("nothing" if kind is None else str(kind))
