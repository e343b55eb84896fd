"""Keys whose values are files of a folder: each brings keys of its section along.

On a command line ``algo.learner=pqn`` and ``algo.mixer.name=vdn`` are keys as any
other; to Hydra they are groups inside a group.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.door import folders
from experiments.door.overrides import Typed
from rolemarl_jax.config import nearest
from rolemarl_jax.disk.rundir import leaves

# Hydra's name of the group that each such key chooses from.
SWAPS = {"algo.learner": "algo/learner@algo", "algo.mixer.name": "algo/mixer"}


def marked(key: str, value: str) -> str | None:
    """The override as Hydra wants it; none for any other key, or no file's name."""
    if key not in SWAPS or not set(value.split(",")) <= set(_files(key)):
        return None
    return f"{SWAPS[key]}={value}"


def typed_as(word: str) -> str:
    """An override as it was typed, before ``marked``."""
    group, equals, value = word.partition("=")
    keys = (key for key, name in SWAPS.items() if name == group)
    return f"{next(keys, group)}{equals}{value}"


def first(typed: Sequence[Typed], own: Mapping[str, Any]) -> list[str]:
    """Of each key's values the first one, marked.

    Args:
        own: values of the chosen files, without keys; what these lack is left out.
    """
    there = dict(leaves(own))
    asked = [one for one in typed if one.key in there]
    words = (marked(one.key, one.value.split(",")[0]) for one in asked)
    return [word for word in words if word]


def faults(typed: Sequence[Typed], own: Mapping[str, Any]) -> Iterator[str]:
    """Files that are not there, or not for the algorithm that was chosen."""
    there = dict(leaves(own))
    for one in typed:
        if one.key not in SWAPS or one.sign or one.key not in there:
            continue
        value = there[one.key]
        known = _files(one.key) if value in _files(one.key) else [value]
        algo = f"algo={own['algo']['name']}"
        for name in one.value.split(","):
            if name not in known:
                yield f"{one.key}: got '{name}' with {algo}; {nearest(name, known)}"


def _files(key: str) -> list[str]:
    return folders.files(SWAPS[key].partition("@")[0])
