"""From a command line to one resolved mapping, with errors a person can act on.

Hydra composes; its messages for wrong names are replaced here, because they list
neither the allowed choices nor the nearest one in a single line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from experiments.door import folders, keys, overrides, swaps
from experiments.door.by_learner import by_learner
from experiments.door.by_map import by_map
from experiments.door.folders import CONFIGS
from experiments.door.overrides import Typed
from rolemarl_jax.config import ConfigError

# Groups that fill keys of the top level; they have no section of their own.
GLOBAL_GROUPS = ("run",)
# Folders of configs/ that another command reads.
NOT_GROUPS = ("study",)
# Mappings whose names the command line chooses.
OPEN = ("sweep.hypers",)

OmegaConf.register_new_resolver("by_map", by_map, replace=True)
OmegaConf.register_new_resolver("by_learner", by_learner, replace=True)


class Composed(NamedTuple):
    """A resolved configuration and how it came about.

    Attributes:
        values: plain containers.
        choices: file chosen from each group, by Hydra's name of it.
        typed: dotted keys and groups that stand on the command line.
        leaves: dotted keys of single values that were given there.
        job: number of the job that ``--multirun`` made of it, ``None`` otherwise.
    """

    values: dict[str, Any]
    choices: dict[str, str]
    typed: tuple[str, ...]
    leaves: tuple[str, ...]
    job: int | None


def groups() -> dict[str, list[str]]:
    """Configuration groups and the files to choose from (`_*.yaml` are parts)."""
    ours = [path for path in CONFIGS.iterdir() if path.is_dir()]
    names = sorted(path.name for path in ours if path.name not in NOT_GROUPS)
    found = {name: folders.files(name) for name in names}
    return {group: files for group, files in found.items() if files}


def composed(arguments: Sequence[str], known: Sequence[str] = ()) -> Composed:
    """Composes ``configs/config.yaml`` with overrides such as ``seeds=8``.

    Args:
        arguments: that stand on the command line.
        known: overrides that follow from them and that nobody typed.

    Raises:
        ConfigError: an unknown group, file or key, or something that is no override.
    """
    typed = check([*known, *arguments])[len(known) :]
    values, choices = _hydra(opened([*known, *arguments, *folders.search()]))
    return Composed(values, choices, *_named(typed), None)


def check(arguments: Sequence[str], *, sweep: bool = False) -> list[Typed]:
    """Refuses unknown groups, files and keys, all in one message.

    Args:
        sweep: whether several values for a key are several jobs.

    Returns:
        The overrides; Hydra's own are left out.
    """
    typed = overrides.read(arguments, sweep=sweep)
    files = groups()
    chosen = [one for one in typed if one.key in files]
    overrides.refuse(fault for one in chosen for fault in keys.of_group(one, files))
    first = tuple(f"{one.key}={one.value.split(',')[0]}" for one in chosen)
    own = _base((*first, *folders.search()))
    overrides.refuse(swaps.faults(typed, own))
    base = _base((*first, *swaps.first(typed, own), *folders.search()))
    single = [one for one in typed if one.key not in files and not _is_open(one.key)]
    overrides.refuse(
        f"{one.key}: got '{one.value}', but it is a section; set {one.key}.<name>"
        for one in typed
        if one.key in OPEN and "{" not in one.value
    )
    overrides.refuse(fault for one in single for fault in keys.of_key(one, base))
    return typed


@lru_cache(maxsize=64)
def _base(chosen: tuple[str, ...]) -> dict[str, Any]:
    """What chosen files say without further keys; not to be changed."""
    return _hydra(chosen)[0]


def _named(typed: Sequence[Typed]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All keys and groups of a command line, and the keys of its single values."""
    files = groups()
    single = [one for one in typed if one.key not in files]
    return tuple(one.key for one in typed), tuple(overrides.leaves(single))


def opened(arguments: Iterable[str]) -> list[str]:
    """Overrides with new names of open mappings, and with files of sections, as Hydra
    wants them.
    """  # noqa: D205

    def marked(argument: str) -> str:
        key, _, value = argument.partition("=")
        if _is_open(key):
            return f"++{argument}"
        return swaps.marked(key, value) or argument

    return [marked(argument) for argument in arguments]


def plain(
    cfg: DictConfig, choices: Mapping[str, Any], typed: Sequence[str], job: int | None
) -> Composed:
    """The same, for a job that Hydra composed itself (``--multirun``)."""
    with _refusals():
        values = {str(key): _resolved(cfg[key]) for key in cfg}
    read = overrides.read(map(swaps.typed_as, typed), sweep=False)
    return Composed(values, _ours(choices), *_named(read), job)


def _is_open(key: str) -> bool:
    """Whether a key is an open mapping or one of its names."""
    return any(key == name or key.startswith(f"{name}.") for name in OPEN)


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
    except OmegaConfBaseException as error:
        first = str(error).strip().split("\n")[0]
        where = f"{error.full_key}: " if error.full_key else ""
        raise ConfigError(f"{where}{first}") from None
    # Hydra has no exception of its own for numbers as groups and for endless digits.
    except (HydraException, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _resolved(node: Any) -> Any:
    """Plain containers of a node, interpolations filled in."""
    return (
        OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        if OmegaConf.is_config(node)
        else node
    )


def _ours(choices: Mapping[str, Any]) -> dict[str, str]:
    """Choices of the project's own groups, and of those inside them."""
    ours = (group for group in choices if not group.startswith("hydra/"))
    return {group: str(choices[group]) for group in ours}
