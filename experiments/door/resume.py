"""The configuration that a command line means: a new one, or that of a stored run."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from experiments.door.compose import GLOBAL_GROUPS, Composed, groups
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import lock
from rolemarl_jax.disk.rundir import (
    CONFIG,
    RELEASED,
    is_free,
    leaves,
    load,
    load_config,
    require_fresh,
    require_plain,
    traces,
)
from rolemarl_jax.report.loggers import LoggerConfig
from rolemarl_jax.run_config import RunConfig


def resolve(new: Composed, *, trains: bool = True) -> RunConfig:
    """The configuration to run: a new one, or that of the run to be resumed.

    Nothing is written.

    Args:
        new: the command line.
        trains: whether a run is made of it, which needs a directory of its own.

    Raises:
        ConfigError: bad values; a directory that holds another run; nothing to
            resume, or a command line that contradicts the run to be resumed.
    """
    values = dict(new.values)
    if values.get("resume") is True:
        return _checked(_resumed(new))
    chosen = values.get("run_dir") is not None
    if not chosen:
        values["run_dir"] = str(_unused(default_dir(new)))
    cfg = _checked(values)
    shared = cfg.sweep.processes is not None or cfg.sweep.coordinator is not None
    if shared and not chosen:
        raise ConfigError(
            "run_dir: got null; processes that share a sweep need one directory that "
            "all of them see, for example run_dir=runs/sweep"
        )
    # Jobs of a queue join the sweep that the first of them began.
    joins = cfg.sweep.processes is not None and cfg.sweep.coordinator is None
    if trains and not (joins and CONFIG in traces(cfg.run_dir)):
        require_fresh(cfg.run_dir)
    return cfg


@contextmanager
def claimed(cfg: RunConfig, new: Composed) -> Iterator[RunConfig]:
    """The configuration of a run, in a directory that no other process can take.

    One that nobody named is made at once, because two runs that begin in the same
    second would have the same; it goes away again where nothing was written.

    Args:
        cfg: of ``resolve``.
        new: the command line that it is of.
    """
    if new.values.get("run_dir") is not None or cfg.sweep.plan_only:
        yield cfg
        return
    for folder in _numbered(default_dir(new)):
        made = [one for one in folder.parents if not one.exists()]
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:
            pass  # whoever locks it tells why
        break
    try:
        yield replace(cfg, run_dir=str(folder))
    finally:
        lock.remove_empty((folder, *made))


def world_of(arguments: Sequence[str]) -> list[str]:
    """``env=<name>`` of the run that is resumed, whose own keys may be typed then.

    Nothing where no run is resumed, or it cannot be read, which is told later.
    """
    given = {key: value for key, _, value in (one.partition("=") for one in arguments)}
    if given.get("resume", "").lower() != "true" or "env" in given:
        return []
    try:
        name = load(given.get("run_dir", "")).get("env", {}).get("name")
    except ConfigError:
        return []
    return [f"env={name}"] if name in groups()["env"] else []


def _checked(values: dict[str, Any]) -> RunConfig:
    """The record of a run, and what else can be known of it without jax."""
    cfg = build(RunConfig, values, "")
    build(LoggerConfig, cfg.logger, "logger")
    require_plain(cfg.run_dir)
    return cfg


def default_dir(new: Composed) -> Path:
    """``runs/<algo>-<env>-<map>/<time>``, with the number of a job of ``-m``."""
    parts = [new.choices["algo"], new.choices["env"], new.values["env"].get("map")]
    name = "-".join(str(part) for part in parts if part is not None)
    job = () if new.job is None else (str(new.job),)
    return Path("runs") / name / "-".join((time.strftime("%Y%m%d-%H%M%S"), *job))


def _resumed(new: Composed) -> dict[str, Any]:
    """Stored values, with what a command line may change."""
    run_dir = new.values.get("run_dir")
    if run_dir is None:
        raise ConfigError("resume: got true without run_dir; add run_dir=<directory>")
    if not isinstance(run_dir, str):
        raise ConfigError(f"run_dir: got {run_dir!r}; allowed: a path")
    stored = load(run_dir)
    load_config(run_dir)  # names the file that says what is wrong
    if RELEASED in traces(run_dir):
        raise ConfigError(
            f"resume: '{run_dir}' was released, without what training needs; begin a "
            f"run with its parameters by init_from={run_dir} and another run_dir"
        )
    before, now = dict(leaves(stored)), dict(leaves(new.values))
    typed = [key for key in now if _is_typed(key, new) and not is_free(key)]
    differ = sorted(key for key in typed if now[key] != before.get(key))
    if differ:
        lines = [f"{k}: stored {before.get(k)!r}, now {now[k]!r}" for k in differ]
        raise ConfigError(
            f"resume: '{run_dir}' was started with another configuration\n"
            + "\n".join(lines)
        )
    explicit = [key for key in now if is_free(key) and _named(key, new)]
    return _updated(stored, {**{k: now[k] for k in explicit}, "resume": True,
                             "run_dir": str(run_dir)})  # fmt: skip


def _updated(stored: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Stored values with dotted keys replaced; ``total_steps`` may only grow."""
    total = changes.get("total_steps", stored["total_steps"])
    if isinstance(total, int | float) and total < stored["total_steps"]:
        raise ConfigError(
            f"total_steps: got {total}; allowed: {stored['total_steps']} (as the run "
            "was started with) or more"
        )
    return replaced(stored, changes)


def replaced(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings with the values of dotted keys replaced.

    Raises:
        ConfigError: a key below something that is no section.
    """
    copy = json.loads(json.dumps(values))
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = copy
        for part in parents:
            node = node.get(part)
            if not isinstance(node, dict):
                raise ConfigError(f"{key}: unknown key; '{part}' is no section")
        node[last] = value
    return copy


def _named(key: str, new: Composed) -> bool:
    """Whether a key, its section or its group stands on the command line."""
    return any(key == typed or key.startswith(f"{typed}.") for typed in new.typed)


def _is_typed(key: str, new: Composed) -> bool:
    """The same, counting that a global group sets what no section claims."""
    claims = any(group in new.typed for group in GLOBAL_GROUPS)
    section = key.split(".")[0]
    return _named(key, new) or (claims and section not in ("algo", "env", "seed"))


def _unused(path: Path) -> Path:
    """A directory that does not exist yet: the path, or the path with a number."""
    return next(one for one in _numbered(path) if not one.exists())


def _numbered(path: Path) -> Iterator[Path]:
    """``a``, ``a-2``, ``a-3`` and so on."""
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in count(2))
