"""Learners: the code that turns batches into updates, whoever the method is."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import jax

from rolemarl_jax.config import build, require_name
from rolemarl_jax.learners.parts.learner import Learner, UpdateFn, UpdateOut
from rolemarl_jax.ops import scan
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
    cfg = build(module.Config, values, "algo")
    learner = module.make(cfg, spec)
    return computed_as(getattr(cfg, "recurrence", "scan"), learner)


def computed_as(form: scan.Form, learner: Learner) -> Learner:
    """The learner with recurrences of its updates in a form.

    ``auto``: the kernel for a card, where it was faster at every width that it takes
    (docs/benchmarks.md), and the scan elsewhere.
    """

    def traced(update: UpdateFn) -> UpdateFn:
        def run(*args: Any) -> UpdateOut:
            with scan.computed_as(scan.resolved(form)):
                return update(*args)

        return jax.jit(run)

    if form == "scan":
        return learner
    stages = (replace(p, update=traced(p.update)) for p in learner.pretraining)
    return replace(learner, update=traced(learner.update), pretraining=tuple(stages))
