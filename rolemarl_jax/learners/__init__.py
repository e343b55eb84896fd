"""Learners: the code that turns batches into updates, whoever the method is."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from rolemarl_jax.config import build, require_name
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.types import EnvSpec


def known() -> list[str]:
    """Names of the learners that this package holds: its plain modules."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg)


def make_learner(values: Mapping[str, Any], spec: EnvSpec) -> Learner:
    """Makes the algorithm that the mapping ``algo`` describes.

    Raises:
        ConfigError: unknown learner, unknown or ill-typed key, impossible sizes.
    """
    name = require_name("algo.learner", values.get("learner"), known())
    module = importlib.import_module(f"{__name__}.{name}")
    return module.make(build(module.Config, values, "algo"), spec)
