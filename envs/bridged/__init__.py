"""Worlds that play in processes of their own, as the bridge's workers need them."""

import dataclasses
from typing import Any


def settings(cfg: Any, *besides: str) -> dict[str, Any]:
    """What a worker is told: the keys of a configuration.

    Args:
        cfg: the record.
        besides: keys that are left out, as the environment's name is.
    """
    return {
        key: value
        for key, value in dataclasses.asdict(cfg).items()
        if key not in ("name", *besides)
    }
