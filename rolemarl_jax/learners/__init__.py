"""Learners: the code that turns batches into updates, whoever the method is."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from rolemarl_jax.config import ConfigError, build, nearest
from rolemarl_jax.learners.core import Learner
from rolemarl_jax.types import EnvSpec

_PARTS = ("acting", "block", "core", "explore")


def known() -> list[str]:
    """Names of the learners that this package holds."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name not in _PARTS)


def make_learner(values: Mapping[str, Any], spec: EnvSpec) -> Learner:
    """Makes the algorithm that the mapping ``algo`` describes.

    Raises:
        ConfigError: unknown learner, unknown or ill-typed key, impossible sizes.
    """
    name = values.get("learner", "")
    if name not in known():
        raise ConfigError(f"algo.learner: got '{name}'; {nearest(name, known())}")
    module = importlib.import_module(f"{__name__}.{name}")
    return module.make(build(module.Config, values, "algo"), spec)
