"""Learners: the code that turns batches into updates, whoever the method is."""

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from rolemarl_jax.config import build, require_name
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.types import EnvSpec


def known() -> list[str]:
    """Names of the learners that this package holds: its plain modules."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg)


def module_of(values: Mapping[str, Any]) -> ModuleType:
    """The module of the learner that the mapping ``algo`` names.

    Raises:
        ConfigError: unknown learner.
    """
    name = require_name("algo.learner", values.get("learner"), known())
    return importlib.import_module(f"{__name__}.{name}")


def make_learner(values: Mapping[str, Any], spec: EnvSpec) -> Learner:
    """Makes the algorithm that the mapping ``algo`` describes.

    Raises:
        ConfigError: unknown learner, unknown or ill-typed key, impossible sizes.
    """
    module = module_of(values)
    return module.make(build(module.Config, values, "algo"), spec)
