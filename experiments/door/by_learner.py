"""Numbers that depend on the learner, in the file of a role method.

In YAML: ``contrastive_every: "${by_learner:20,{pqn:1}}"``.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig


def by_learner(default: Any, table: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """The table's entry for the learner that is chosen, else the default."""
    return table.get(_root_.algo.learner, default)
