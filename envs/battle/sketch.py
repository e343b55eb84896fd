"""Battles as plain data, for those who draw them elsewhere."""

from typing import Any

import numpy as np

from envs.battle.deeds import NAMES, deeds
from envs.battle.render import LEAST, ROCK, around
from envs.battle.units import BURST_RADIUS, LINE_HALF_LENGTH, Kind
from envs.battle.world import SIZE, Rules, Units
from envs.picture import palette


def sketch(rules: Rules, units: Units) -> dict[str, Any]:
    """T worlds in a row, as docs/environments.md describes sketches.

    Args:
        rules: of the battle.
        units: leaves ``[T, U, ...]`` of NumPy.
    """
    window = around(np.reshape(units.position, (-1, 2)))
    done = deeds(rules, units)
    targets = [f"target {slot}" for slot in range(rules.targets[0])]
    radius = np.maximum(rules.table("radius"), LEAST)
    return {
        "view": [window.left, window.low, window.side, window.side],
        "ground": _rock(rules),
        "kinds": [_kind(kind) for kind in rules.kinds],
        "units": {
            "team": (np.arange(rules.n_units) >= rules.n_allies).astype(int),
            "kind": units.types[0],
            "at": units.position,
            "radius": radius[units.types],
            "alive": units.health > 0,
            "deed": done.deed,
            "target": done.target,
        },
        "bars": _bars(rules, units),
        "deeds": list(NAMES),
        "actions": ["up", "right", "down", "left", "stop", *targets],
        "colours": {"roles": palette.ROLES, "enemy": palette.ENEMY},
    }


def _kind(kind: Kind) -> dict[str, Any]:
    """What is drawn of a type."""
    splash = {"burst": BURST_RADIUS, "line": LINE_HALF_LENGTH}.get(kind.splash, 0.0)
    return {
        "name": kind.name,
        "short": kind.short,
        "reach": kind.reach,
        "splash": splash,
    }


def _rock(rules: Rules) -> list[dict[str, Any]]:
    """Rock above and below the gap."""
    rock = rules.battle.choke
    if rock is None:
        return []
    width = rock.right - rock.left
    boxes = [
        [rock.left, 0.0, width, rock.low],
        [rock.left, rock.high, width, SIZE[1] - rock.high],
    ]
    return [{"name": "rock", "colour": ROCK, "boxes": boxes}]


def _bars(rules: Rules, units: Units) -> dict[str, np.ndarray]:
    """Parts ``[T, U]`` of what a unit may have, NaN for those that never have it."""
    full, shield = rules.full[units.types], rules.full_shield[units.types]
    energy = rules.table("cooldown")[units.types]
    heals = np.array([kind.heals for kind in rules.kinds])[units.types]
    bars = {"health": units.health / full}
    if units.shield is not None:
        part = units.shield / np.maximum(shield, 1)
        bars["shield"] = np.where(shield > 0, part, np.nan)
    if rules.heals:
        bars["energy"] = np.where(heals, units.cooldown / energy, np.nan)
    return {name: np.clip(bar, 0, 1) for name, bar in bars.items()}
