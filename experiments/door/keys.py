"""Messages for keys and files that a configuration does not have."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from experiments.door.folders import CONFIGS
from experiments.door.overrides import Typed
from rolemarl_jax import reads
from rolemarl_jax.config import nearest


def of_group(one: Typed, files: Mapping[str, list[str]]) -> Iterator[str]:
    """Names of files that a group does not have."""
    if one.sign:
        yield f"{one.key}: got '{one.sign}{one.key}'; a file is chosen as {one.key}=..."
        return
    for name in one.value.split(","):
        if name not in files[one.key]:
            yield f"{one.key}: got '{name}'; {nearest(name, files[one.key])}"


def of_key(one: Typed, base: Mapping[str, Any]) -> Iterator[str]:
    """A dotted key that the configuration does not have, or has already."""
    fault = _key_fault(one.key, one.value, base)
    if one.sign == "+" and fault is None:
        yield f"{one.key}: is there already; write {one.key}={one.value}"
    elif one.sign == "~" and one.value:
        yield f"{one.key}: a key is taken out as ~{one.key}"
    elif one.sign in ("", "~") and fault is not None:
        yield fault


def _key_fault(key: str, value: str, base: Mapping[str, Any]) -> str | None:
    """What is wrong with a dotted key."""
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, Mapping) or part not in node:
            return _unknown(key, parts[:depth], node, base)
        node = node[part]
    # Hydra takes a key that is a folder, too, for a group.
    if isinstance(node, Mapping) and ("{" not in value or (CONFIGS / key).is_dir()):
        inside = ", ".join(f"{key}.{name}" for name in sorted(node))
        instead = f"set {inside}" if inside else "it is empty here"
        return f"{key}: got '{value}', but it is a section; {instead}"
    return None


def _unknown(key: str, parents: list[str], node: Any, base: Mapping[str, Any]) -> str:
    """Message for a key that leaves the configuration below its parents."""
    where = ".".join(parents)
    if not isinstance(node, Mapping):
        return f"{key}: unknown key; '{where}' is a single value"
    if not node and where:
        return f"{key}: unknown key; '{where}' is empty here{_filled_by(where)}"
    known = ", ".join(f"{where}.{name}" if where else name for name in sorted(node))
    return f"{key}: unknown key; known: {known}{_hint(key, base)}"


def _filled_by(section: str) -> str:
    """What an empty section would be read by."""
    modes = [row.mode for row in reads.RUN if section in row.keys]
    return f", it belongs to {modes[0]}" if modes else ""


def _hint(key: str, base: Mapping[str, Any]) -> str:
    """The nearest existing key, judged by the whole path or by its last part."""
    every = list(_dotted(base, ""))
    last = {name.rsplit(".", 1)[-1]: name for name in reversed(every)}
    close = difflib.get_close_matches(key, every, n=1, cutoff=0.75)
    tail = difflib.get_close_matches(key.rsplit(".", 1)[-1], last, n=1, cutoff=0.7)
    found = close[0] if close else last[tail[0]] if tail else None
    return f"; did you mean '{found}'?" if found else ""


def _dotted(node: Mapping[str, Any], prefix: str) -> Iterable[str]:
    """All keys of nested mappings, dotted."""
    for name, value in node.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
