"""The package ``envs`` is that beside ``experiments``, whatever else has this name.

The directory that a command runs in comes before installed packages on Python's path,
and a project may well have an ``envs`` of its own there. ``configs`` is read as files
and cannot be mistaken.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "envs"


class Sibling(MetaPathFinder):
    """Finds our ``envs``, before anyone looks along Python's path."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Where the package lies; ``None`` for everything else."""
        del path, target
        return _spec() if fullname == NAME else None


def claim() -> None:
    """Makes ``import envs`` find ours from now on, if it would find another one.

    Raises:
        ImportError: another one is in use in this process.
    """
    present = sys.modules.get(NAME)
    if present is not None:
        _refuse_other(getattr(present, "__file__", None))
        return
    found = importlib.util.find_spec(NAME)
    if found is None or not _is_ours(found.origin):
        sys.meta_path.insert(0, Sibling())


def _spec() -> ModuleSpec | None:
    own = ROOT / NAME
    return importlib.util.spec_from_file_location(
        NAME, own / "__init__.py", submodule_search_locations=[str(own)]
    )


def _refuse_other(file: str | None) -> None:
    """Refuses a package of that name which is not ours."""
    if not _is_ours(file):
        raise ImportError(
            f"the package '{NAME}' of this process is '{file}', and rolemarl_jax needs "
            f"its own, '{ROOT / NAME}'; import experiments before it, or give the "
            "other one another name"
        )


def _is_ours(file: str | None) -> bool:
    return file is not None and Path(file).resolve().parent == ROOT / NAME
