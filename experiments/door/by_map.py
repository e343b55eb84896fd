"""Numbers that a paper prints for single maps, in a preset.

In YAML: ``batch: "${by_map:32,{6h_vs_8z:64}}"``. They are looked up when the
configuration is resolved, so that ``config.yaml`` has what was taken, every job of
``-m`` has its own map's, and what the command line says comes instead.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from rolemarl_jax.maps import entry_for


def by_map(default: Any, table: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """The table's entry for the map that is played, else the default."""
    entry = entry_for(map_name(_root_.env), table)
    return default if entry is None else table[entry]


def map_name(env: Mapping[str, Any]) -> str:
    """Name of a configured world's map, as ``EnvSpec.name`` has it behind the slash."""
    name = str(env.get("map"))
    sized = "units" in env
    return f"{name}_{env['units']}_vs_{env['enemies']}" if sized else name
