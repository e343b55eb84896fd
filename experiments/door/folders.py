"""Folders of configuration files: the project's, and one of a user's own beside it.

``--config-dir=conf`` adds ``conf/algo/*.yaml``, ``conf/env/*.yaml`` and so on to the
files that may be chosen. Its files may build on ours (``defaults: [_value, _self_]``);
none may have the name of one of ours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rolemarl_jax.config import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FLAGS = ("--config-dir", "-cd")
# Of the command that runs.
_OWN: ContextVar[tuple[Path, ...]] = ContextVar("own folders", default=())


def every() -> tuple[Path, ...]:
    """All folders, ours first."""
    return (CONFIGS, *_OWN.get())


def search() -> list[str]:
    """Overrides that tell Hydra where else to look."""
    own = ",".join(f'"file://{folder}"' for folder in _OWN.get())
    return [f"hydra.searchpath=[{own}]"] if own else []


def files(group: str) -> list[str]:
    """Names of the files of a group; `_*.yaml` are parts of others."""
    paths = [path for one in every() for path in (one / group).glob("*.yaml")]
    return sorted(path.stem for path in paths if not path.stem.startswith("_"))


def file_of(group: str, name: str) -> Path:
    """The file of a group, whichever folder it lies in."""
    paths = [folder / group / f"{name}.yaml" for folder in every()]
    return next((path for path in paths if path.is_file()), paths[0])


@contextmanager
def added(folder: str | None) -> Iterator[None]:
    """Files of a user's folder may be chosen inside this block.

    Raises:
        ConfigError: no folder of configuration groups, or files with names of ours.
    """
    if folder is None:
        yield
        return
    token = _OWN.set((_checked(folder),))
    try:
        yield
    finally:
        _OWN.reset(token)


def split(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The folder that a command line names, and the rest of it.

    Raises:
        ConfigError: the flag without a folder, or twice.
    """
    found: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in FLAGS:
            rest.append(word)
            continue
        folder = value if equals else next(words, "")
        if not folder:
            raise ConfigError(f"{FLAGS[0]}: got nothing; allowed: a directory")
        found.append(folder)
    if len(found) > 1:
        raise ConfigError(f"{FLAGS[0]}: given twice, {' and '.join(found)}")
    return (found[0] if found else None), rest


def _checked(folder: str) -> Path:
    """A user's folder, resolved."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ConfigError(f"{FLAGS[0]}: got '{folder}', which is no directory")
    groups = sorted(one.name for one in CONFIGS.iterdir() if one.is_dir())
    if not any((path / group).is_dir() for group in groups):
        raise ConfigError(
            f"{FLAGS[0]}: '{folder}' has no folder of a group; known: "
            f"{', '.join(groups)}; a file goes to {folder}/algo/my_method.yaml"
        )
    files = (one.relative_to(path) for one in sorted(path.rglob("*.yaml")))
    taken = [str(one) for one in files if (CONFIGS / one).is_file()]
    if taken:
        raise ConfigError(
            f"{FLAGS[0]}: '{folder}' has {', '.join(taken)}, as rolemarl_jax has; "
            "allowed: other names (a file may build on ours by its defaults)"
        )
    return path
