"""Role-based multi-agent reinforcement learning, compiled end to end.

What a notebook needs is here by name; it is imported when it is first used, so that
``import rolemarl_jax`` stays light. `docs/library.md` shows it at work.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolemarl_jax.checks.method import check_method as check_method
    from rolemarl_jax.checks.world import check_env as check_env
    from rolemarl_jax.config import ConfigError as ConfigError
    from rolemarl_jax.disk.rundir import load_config as load_config
    from rolemarl_jax.experience.evaluate import make_evaluate as make_evaluate
    from rolemarl_jax.experience.rollout import beginning as beginning
    from rolemarl_jax.experience.rollout import make_rollout as make_rollout
    from rolemarl_jax.experience.store import make_store as make_store
    from rolemarl_jax.learners import make_learner as make_learner
    from rolemarl_jax.program.program import Cursor as Cursor
    from rolemarl_jax.program.program import make_program as make_program
    from rolemarl_jax.report.loggers import read as read_rows  # noqa: F401
    from rolemarl_jax.report.plotting import curves as curves
    from rolemarl_jax.report.table import rows_to_csv as rows_to_csv
    from rolemarl_jax.run.stored import load_states as load_states
    from rolemarl_jax.run_config import RunConfig as RunConfig
    from rolemarl_jax.sweep.train import train_compiled as train_compiled
    from rolemarl_jax.types import AgentState as AgentState
    from rolemarl_jax.types import Bodies as Bodies
    from rolemarl_jax.types import Env as Env
    from rolemarl_jax.types import EnvSpec as EnvSpec
    from rolemarl_jax.types import Observation as Observation
    from rolemarl_jax.types import Step as Step

__version__ = "0.1.0"

_HOME = {
    "AgentState": "types",
    "Bodies": "types",
    "ConfigError": "config",
    "Cursor": "program.program",
    "Env": "types",
    "EnvSpec": "types",
    "Observation": "types",
    "RunConfig": "config",
    "Step": "types",
    "beginning": "experience.rollout",
    "check_env": "checks.world",
    "check_method": "checks.method",
    "curves": "report.plotting",
    "load_config": "disk.rundir",
    "load_states": "run.stored",
    "make_evaluate": "experience.evaluate",
    "make_learner": "learners",
    "make_program": "program.program",
    "make_rollout": "experience.rollout",
    "make_store": "experience.store",
    "read_rows": "report.loggers",
    "rows_to_csv": "report.table",
    "train_compiled": "sweep.train",
}
_OTHER_NAME = {"read_rows": "read"}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    return getattr(module, _OTHER_NAME.get(name, name))


def __dir__() -> list[str]:
    """Public names, for completion."""
    return [*globals(), *_HOME]
