"""A run on disk: the names of its files, and its configuration."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import files
from rolemarl_jax.run_config import RunConfig

LOCK = "run.lock"  # of the process that uses the folder
CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
RANKING = "ranking.md"
CURVES = "curves.png"
EVALUATION = "evaluation.json"
REPORT = "report.html"
FILM = "film.gif"
CHECKPOINTS = "checkpoints"
RELEASED = "parameters"  # instead of checkpoints, where a run was released
CHUNKS = "chunks"
REPLAYS = "replays"
WORKERS = "workers.log"  # failures of worlds in other processes, one of each kind
TENSORBOARD = "tensorboard"
WANDB = "wandb"
WANDB_ID = "run-id"  # in ``WANDB``; of this run and those that go on from it

# The library that writes checkpoints does not find them again where a path has these.
PATTERNS = "*?[\\"

# What a run has written goes on, or stays; beside it no other run begins.
TRACES = (CONFIG, METRICS, CHECKPOINTS, RELEASED, CHUNKS)

# What may differ from the configuration that a run was started with, when it goes on.
FREE = (
    *("resume", "run_dir", "logger", "bridge", "total_steps"),
    *("checkpoint.every", "checkpoint.keep", "train.host_devices"),
    *("sweep.plan_only", "sweep.device_memory", "sweep.card"),
    *("sweep.coordinator", "sweep.processes", "sweep.process"),
)

# Keys of a section that older runs lack, as they were then.
LATER = {
    "sweep": {
        **{"hypers": {}, "card": None},
        **{"coordinator": None, "processes": None, "process": None},
    },
    "replay": {"burn_in": 0},
    "eval": {"role_episodes": 0},
}
# Keys of an environment that older runs lack, likewise.
ENV_LATER = {"gymma": {"team_reward": "sum"}, "scripted": {"reset_chance": 0.0}}
SECTIONS = ("algo", "env", "train", "replay", "eval")  # of every run's file
LEARNERS = ("qmix", "pqn", "mappo", "maac")  # with a key ``precision``
RECURRENT = ("qmix", "pqn", "mappo")  # learners with a key ``recurrence``
NORMED = ("plain", "roma", "acorm", "r3dm")  # role methods with a key ``normed``
CONTRASTIVE = {
    "similarity": "bilinear",
    "contrastive_temperature": 1.0,
    "centred": False,
}


def load(run_dir: Path | str) -> dict[str, Any]:
    """Stored configuration of a run, as plain containers.

    Raises:
        ConfigError: there is no run in this directory, or its file cannot be read.
    """
    path = Path(run_dir) / CONFIG
    if not files.is_file(path, "run_dir"):
        raise ConfigError(f"run_dir: '{run_dir}' holds no run (no {CONFIG} there)")
    values = _sections(path)
    later = {name: {**own, **values.get(name, {})} for name, own in LATER.items()}
    env = {**ENV_LATER.get(str(values["env"].get("name")), {}), **values["env"]}
    return {
        "bridge": {},
        "init_from": None,
        **values,
        "algo": _algo(values["algo"]),
        "env": env,
        **later,
    }


def _sections(path: Path) -> dict[str, Any]:
    """What a stored configuration holds; its sections are mappings.

    Raises:
        ConfigError: the file is damaged.
    """
    damaged = f"run_dir: '{path}' is damaged"
    try:
        values = yaml.safe_load(files.read_text(path, "run_dir"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = " ".join(str(error).split())[:200]
        raise ConfigError(f"{damaged}, no plain YAML: {where}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{damaged}: it holds no mapping of sections")
    for name in SECTIONS:
        if not isinstance(values.get(name), dict):
            raise ConfigError(f"{damaged}: its section {name} is missing or no mapping")
    for name in LATER:
        if not isinstance(values.get(name, {}), dict):
            raise ConfigError(f"{damaged}: its section {name} is no mapping")
    return values


def _algo(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored algorithm, with keys that older ones lack."""
    algo, role = dict(stored), stored.get("role")
    if algo.get("learner") in LEARNERS:
        algo.setdefault("precision", "float32")
    if algo.get("learner") in RECURRENT:
        algo.setdefault("recurrence", "scan")
    if isinstance(role, dict):
        algo["role"] = _role(role)
    if isinstance(algo.get("mixer"), dict) and "embed" in algo["mixer"]:
        algo["mixer"] = {"normed": False, **algo["mixer"]}
    return algo


def _role(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored role method, likewise; the agent network may be a part of it."""
    later = {**CONTRASTIVE} if "kmeans_iterations" in stored else {}
    role = {**later, **stored}
    if role.get("name") in NORMED:
        role.setdefault("normed", False)
    if isinstance(role.get("agent"), dict):
        role["agent"] = _role(role["agent"])
    return role


def load_config(run_dir: Path | str) -> RunConfig:
    """Stored configuration of a run, as a record whose run_dir is where it lies now.

    Raises:
        ConfigError: as ``load``, or a value is not what this version allows.
    """
    values = {**load(run_dir), "run_dir": str(run_dir)}
    try:
        return build(RunConfig, values, "")
    except ConfigError as error:
        raise ConfigError(f"run_dir: '{run_dir}/{CONFIG}' says\n{error}") from None


def create(cfg: RunConfig) -> Path:
    """Makes the run directory and writes ``config.yaml`` into it, as a whole."""
    path = Path(cfg.run_dir) / CONFIG
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, _text(cfg))
    return path.parent


def claim(cfg: RunConfig) -> bool:
    """As ``create``, unless a configuration lies there already; whether it did so."""
    path = Path(cfg.run_dir) / CONFIG
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.create_text(path, _text(cfg))


def traces(run_dir: Path | str) -> list[str]:
    """Names of files and folders there that only a run leaves.

    Raises:
        ConfigError: nobody can tell, because the directory cannot be read.
    """
    try:
        return [name for name in TRACES if Path(run_dir, name).exists()]
    except OSError as error:
        raise ConfigError(f"run_dir: '{run_dir}' cannot be read: {error}") from None


def require_fresh(run_dir: Path | str) -> None:
    """Refuses a directory that a new run would mix with another.

    Raises:
        ConfigError: a run lies there, or what is left of one.
    """
    found = traces(run_dir)
    if CONFIG in found:
        raise ConfigError(
            f"run_dir: '{run_dir}' holds a run already; go on with it by adding "
            "resume=true, or choose another directory"
        )
    if found:
        raise ConfigError(
            f"run_dir: '{run_dir}' holds {', '.join(found)} of a run without its "
            f"{CONFIG}; choose another directory, or move these away"
        )


def require_plain(run_dir: Path | str, key: str = "run_dir") -> None:
    """Refuses a path of which checkpoints would be written and not found again.

    Args:
        key: that named it.

    Raises:
        ConfigError: it, or a folder above it, has a character of a pattern.
    """
    whole = str(Path(run_dir).resolve())
    found = sorted({mark for mark in whole if mark in PATTERNS})
    if found:
        raise ConfigError(
            f"{key}: got a path with {' '.join(found)}, {whole}; allowed: any "
            f"without {' '.join(PATTERNS)}, with which a checkpoint is not found again"
        )


def folders(run_dir: Path | str) -> list[Path]:
    """Run directories of the chunks in order of their seeds; of others, themselves."""
    parts = Path(run_dir, CHUNKS).glob("*-*")
    # By number: names are filled up with zeros to six digits, and ids may have more.
    return sorted(parts, key=lambda path: _first(path.name)) or [Path(run_dir)]


def _first(name: str) -> tuple[int, str]:
    """Id of a chunk's first seed; what is no chunk comes first."""
    first = name.partition("-")[0]
    return int(first) if first.isdecimal() else -1, name


def learners(run_dir: Path | str) -> Path:
    """Where the learners of a run lie: among its checkpoints, or released."""
    released = Path(run_dir, RELEASED)
    return released if released.is_dir() else Path(run_dir, CHECKPOINTS)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain containers as JSON has them: tuples become lists."""
    return json.loads(json.dumps(values))


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; an empty mapping is a value."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def is_free(key: str) -> bool:
    """Whether a dotted key may differ from that of the run that goes on."""
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _text(cfg: RunConfig) -> str:
    """The configuration as YAML."""
    values = plain(dataclasses.asdict(cfg))
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=False)
