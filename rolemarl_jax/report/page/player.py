"""Episodes as the script of a page reads them, and the HTML around it."""

import base64
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from rolemarl_jax.report.page.episode import Episode, Panel, Roles, Show

MOST_BYTES = 6_000_000  # of all episodes of a page
SCRIPTS = ("arrays.js", "world.js", "panels.js", "player.js")
NO_NUMBER = 65535  # stands for NaN


def asset(name: str) -> str:
    """A file that lies beside this module."""
    return (
        resources.files("rolemarl_jax.report.page")
        .joinpath(name)
        .read_text(encoding="utf8")
    )


def section(show: Show) -> str:
    """The episodes of a page; those that would make it too large are left out."""
    texts, left, room = [], 0, MOST_BYTES
    for episode in show.episodes:
        text = json.dumps(_episode(episode), separators=(",", ":"), allow_nan=False)
        room -= len(text)
        fits = room >= 0 or not texts
        texts, left = ([*texts, text], left) if fits else (texts, left + 1)
    note = show.note + (f" {left} more would make it too large." if left else "")
    head = f"<h2>Episodes</h2><p>{escape(note)}</p>"
    if not texts:
        return head
    # In a script nothing but its own end is special.
    data = f"[{','.join(texts)}]".replace("</", "<\\/")
    code = "\n".join(asset(name) for name in SCRIPTS)
    return (
        f'{head}\n{asset("player.html")}\n<script id="episodes" '
        f'type="application/json">{data}</script>\n'
        f"<script>(() => {{ 'use strict';\n{code}\n}})();</script>"
    )


def _episode(episode: Episode) -> dict[str, Any]:
    return {
        "title": episode.title,
        "sketch": _plain(episode.sketch),
        "action": packed(episode.action),
        "roles": None if episode.roles is None else _roles(episode.roles),
        "panels": [_panel(panel) for panel in episode.panels],
    }


def _roles(roles: Roles) -> dict[str, Any]:
    return {
        "labels": packed(roles.labels),
        "clusters": roles.clusters,
        "spaces": [{**one._asdict(), "at": packed(one.at)} for one in roles.spaces],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    values = packed(panel.values)
    return {"title": panel.title, "note": panel.note, "names": panel.names} | {
        "values": values
    }


def _plain(value: Any) -> Any:
    """Containers as they are, arrays packed."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return packed(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array in two bytes a number: whole ones exactly, others in 65,534 steps.

    Args:
        array: bool, int from -32,768 to 32,767, or float, where NaN stays NaN.

    Returns:
        ``shape``, ``data`` (base64, little-endian) and, of floats, ``low`` and
        ``step``: a number is ``low + step * code``.
    """
    array, shape = np.asarray(array), list(np.shape(array))
    if array.dtype.kind != "f":
        return {"shape": shape, "data": _base64(array.astype("<i2"))}
    there = array[np.isfinite(array)]
    low, high = (there.min(), there.max()) if there.size else (0.0, 0.0)
    step = (float(high) - float(low)) / (NO_NUMBER - 1) or 1.0
    codes = np.round((array.astype(np.float64) - float(low)) / step)
    codes = np.where(np.isfinite(array), codes, NO_NUMBER).astype("<u2")
    data = _base64(codes)
    return {"shape": shape, "data": data, "low": float(low), "step": step}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
