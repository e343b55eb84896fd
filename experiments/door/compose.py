"""From a command line to one resolved mapping, with errors a person can act on.

Hydra composes; its messages for wrong names are replaced here, because they list
neither the allowed choices nor the nearest one in a single line.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from experiments.door.by_learner import by_learner
from experiments.door.by_map import by_map
from rolemarl_jax.config import ConfigError, nearest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Groups that fill keys of the top level; they have no section of their own.
GLOBAL_GROUPS = ("run",)
# Folders of configs/ that another command reads.
NOT_GROUPS = ("study",)
# Mappings whose names the command line chooses.
OPEN = ("sweep.hypers",)

# A key whose values are files of a folder inside another group: each brings keys along.
LEARNER, LEARNER_GROUP = "algo.learner", "algo/learner"

OmegaConf.register_new_resolver("by_map", by_map, replace=True)
OmegaConf.register_new_resolver("by_learner", by_learner, replace=True)


class Composed(NamedTuple):
    """A resolved configuration and how it came about.

    Attributes:
        values: plain containers.
        choices: file chosen from each group.
        typed: dotted keys and groups that stand on the command line.
        job: number of the job that ``--multirun`` made of it, ``None`` otherwise.
    """

    values: dict[str, Any]
    choices: dict[str, str]
    typed: tuple[str, ...]
    job: int | None


def groups() -> dict[str, list[str]]:
    """Configuration groups and the files to choose from (`_*.yaml` are parts)."""
    folders = sorted(
        path
        for path in CONFIGS.iterdir()
        if path.is_dir() and path.name not in NOT_GROUPS
    )
    found = {p.name: sorted(f.stem for f in p.glob("[!_]*.yaml")) for p in folders}
    return {group: files for group, files in found.items() if files}


def composed(arguments: Sequence[str]) -> Composed:
    """Composes ``configs/config.yaml`` with overrides such as ``seeds=8``.

    Raises:
        ConfigError: an unknown group, file or key, or something that is no override.
    """
    pairs = check(arguments)
    values, choices = _hydra(opened(arguments))
    return Composed(values, choices, tuple(key for key, _, _ in pairs), None)


def check(arguments: Sequence[str]) -> list[tuple[str, str, str]]:
    """Refuses unknown groups, files and keys; a sweep's commas are understood.

    Returns:
        Key, value and whole text of each override; Hydra's own are left out.
    """
    pairs = [_split(argument) for argument in arguments]
    pairs = [pair for pair in pairs if not pair[0].startswith("hydra")]
    files, first = groups(), []
    for key, value, _ in pairs:
        if key in files:
            for name in value.split(","):
                if name not in files[key]:
                    raise ConfigError(
                        f"{key}: got '{name}'; {nearest(name, files[key])}"
                    )
            first.append(f"{key}={value.split(',')[0]}")
    base, _ = _hydra([*first, *_learner(pairs, first)])
    for key, value, text in pairs:
        if key not in files and text[0] not in "+~" and not _is_open(key):
            _require_key(key, value, base)
    return pairs


def opened(arguments: Iterable[str]) -> list[str]:
    """Overrides in which new names of open mappings, and a learner, are written as
    Hydra wants it.
    """  # noqa: D205

    def marked(argument: str) -> str:
        key, _, value = argument.partition("=")
        if key == LEARNER and set(value.split(",")) <= set(_learners()):
            return f"{LEARNER_GROUP}@algo={value}"
        return f"++{argument}" if _is_open(key) else argument

    return [marked(argument) for argument in arguments]


def plain(cfg: DictConfig, choices: Mapping[str, Any], job: int | None) -> Composed:
    """The same, for a configuration that Hydra composed itself (``--multirun``)."""
    with _refusals():
        values = {str(key): _resolved(cfg[key]) for key in cfg}
    return Composed(values, _ours(choices), (), job)


def _learner(pairs: Iterable[tuple[str, str, str]], groups: list[str]) -> list[str]:
    """The first learner that is asked for, in place of the algorithm's own.

    Raises:
        ConfigError: there is no such learner, or the algorithm cannot have another.
    """
    asked = [value for key, value, _ in pairs if key == LEARNER]
    if not asked:
        return []
    choices, own = _learners(), _hydra(groups)[0]["algo"]
    if own["learner"] not in choices and asked != [own["learner"]]:
        raise ConfigError(
            f"{LEARNER}: got '{asked[0]}'; allowed with algo={own['name']}: "
            f"{own['learner']}, which nothing else can take the place of"
        )
    for name in asked[-1].split(","):
        if name not in (*choices, own["learner"]):
            raise ConfigError(f"{LEARNER}: got '{name}'; {nearest(name, choices)}")
    return opened([f"{LEARNER}={asked[-1].split(',')[0]}"])


def _learners() -> list[str]:
    """Learners that value-based algorithms can choose from."""
    return sorted(path.stem for path in (CONFIGS / LEARNER_GROUP).glob("*.yaml"))


def _is_open(key: str) -> bool:
    """Whether a key is an open mapping or one of its names."""
    return any(key == name or key.startswith(f"{name}.") for name in OPEN)


def _split(argument: str) -> tuple[str, str, str]:
    """Key, value and the whole of one override."""
    key, equals, value = argument.partition("=")
    name = key.lstrip("+~")
    if not name or (not equals and not key.startswith("~")):
        raise ConfigError(f"'{argument}': got no key=value; write for example seeds=8")
    return name, value, argument


def _hydra(arguments: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and choices that Hydra composes."""
    with _refusals(), initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("config", list(arguments), return_hydra_config=True)
        choices = dict(cfg.hydra.runtime.choices)
        # Hydra's own section holds values that only a launched job has.
        values = {str(key): _resolved(cfg[key]) for key in cfg if key != "hydra"}
    return values, _ours(choices)


@contextmanager
def _refusals() -> Iterator[None]:
    """What Hydra and OmegaConf refuse becomes a ``ConfigError``."""
    try:
        yield
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: got '???'; allowed: a value") from None
    # Hydra has no exception of its own for numbers as groups and for endless digits.
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _resolved(node: Any) -> Any:
    """Plain containers of a node, interpolations filled in."""
    return (
        OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(node)
        else node
    )


def _ours(choices: Mapping[str, Any]) -> dict[str, str]:
    """Choices of the project's own groups."""
    return {group: str(choices[group]) for group in groups() if group in choices}


def _require_key(key: str, value: str, base: Mapping[str, Any]) -> None:
    """Refuses a dotted key that the configuration does not have."""
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, Mapping) or part not in node:
            raise ConfigError(_unknown(key, parts[:depth], node, base))
        node = node[part]
    # Hydra takes a key that is a folder, too, for a group.
    if isinstance(node, Mapping) and ("{" not in value or (CONFIGS / key).is_dir()):
        inside = ", ".join(f"{key}.{name}" for name in sorted(node))
        instead = f"set {inside}" if inside else "it is empty here"
        raise ConfigError(f"{key}: got '{value}', but it is a section; {instead}")


def _unknown(key: str, parents: list[str], node: Any, base: Mapping[str, Any]) -> str:
    """Message for a key that leaves the configuration below its parents."""
    where = ".".join(parents)
    if not isinstance(node, Mapping):
        return f"{key}: unknown key; '{where}' is a single value"
    known = ", ".join(f"{where}.{name}" if where else name for name in sorted(node))
    return f"{key}: unknown key; known: {known}{_hint(key, base)}"


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
