"""Configuration as frozen dataclasses, checked once, at the door.

The YAML files under ``configs/`` hold every number; nothing here has a default.
``build`` turns plain mappings into these records and refuses unknown keys,
missing keys and values of the wrong type. Checks that need more than one key
live beside the code that needs them and raise ``ConfigError`` too.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as _dataclass

T = TypeVar("T")
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]

# Strict JSON mode: nothing is coerced but int to float and list to tuple.
_STRICT = ConfigDict(extra="forbid", strict=True)


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names key, value, allowed."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Frozen, keyword-only dataclass whose fields are validated on construction."""
    return _dataclass(cls, frozen=True, kw_only=True, config=_STRICT)  # type: ignore


def nearest(got: str, known: Iterable[str]) -> str:
    """Sentence fragment for an unknown name: the list, and the closest match."""
    names = sorted(known)
    close = difflib.get_close_matches(got, names, n=1, cutoff=0.4)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"known: {', '.join(names)}{hint}"


def require_divisor(name: str, value: int, whole_name: str, whole: int) -> None:
    """Refuses a number that does not divide another.

    Raises:
        ConfigError: names both keys.
    """
    if whole % value:
        raise ConfigError(
            f"{name}: got {value}, which does not divide {whole_name}={whole}"
        )


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Makes a configuration record from a mapping.

    Args:
        cls: a class made by ``config``.
        values: nested plain containers, e.g. from YAML; lists become tuples.
        where: dotted prefix of the keys, for messages ("algo", "env", ...).

    Raises:
        ConfigError: unknown or missing key, or a value of the wrong type; all
            faults are named in one message.
    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(dict(values)))
    except ValidationError as error:
        lines = [_explain(cls, where, fault) for fault in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _explain(cls: type, where: str, fault: Any) -> str:
    """One line of a ``ConfigError`` for one fault that pydantic found."""
    path = [str(part) for part in fault["loc"]]
    key = ".".join(filter(None, [where, *path]))
    if fault["type"] == "unexpected_keyword_argument":
        fields = getattr(_owner(cls, path[:-1]), "__dataclass_fields__", {})
        return f"{key}: unknown key; {nearest(path[-1], fields)}"
    if fault["type"] == "missing":
        return f"{key}: missing key"
    return (
        f"{key}: got {fault['input']!r}; {fault['msg'][:1].lower()}{fault['msg'][1:]}"
    )


def _owner(cls: Any, path: list[str]) -> Any:
    """The nested record class that a dotted path leads to."""
    for part in path:
        cls = cls.__dataclass_fields__[part].type
    return cls


@config
class TrainConfig:
    """How experience becomes updates (``run/*.yaml``, key ``train``).

    Attributes:
        worlds: environments stepped together, a seed.
        steps_per_update: env steps collected for each learner update.
        warmup_steps: env steps collected before the first update; ``None`` takes
            the least that guarantees a full batch of whole episodes.
        seeds_by: how seeds share a device: ``map`` (one after another inside one
            program), ``vmap`` (one batched program) or ``auto`` (map on a CPU).
        host_devices: CPU devices that seeds are spread over; ``None`` takes one for
            each core, at most one a seed. Accelerators are not concerned.
        seeds_together: seeds that ``vmap`` batches, group after group, which bounds
            the memory of an update; ``None`` batches all.
    """

    worlds: Positive
    steps_per_update: Positive
    warmup_steps: Natural | None
    seeds_by: Literal["auto", "map", "vmap"]
    host_devices: Positive | None
    seeds_together: Positive | None


@config
class ReplayConfig:
    """Replay of whole episodes (key ``replay``).

    Attributes:
        store: ``packed`` keeps world states and re-renders observations,
            ``observations`` keeps what was seen, ``auto`` takes the smaller.
        sampling: ``episodes``: ``batch`` whole episodes, uniform, padded to the
            time limit. ``filled``: ``rows`` rows of ``row_length`` steps, each
            starting at a uniformly drawn episode and going on into those that
            follow it, so that nearly every step is real. ``fresh``: nothing but the
            block just collected, for on-policy algorithms; the keys below then
            mean nothing.
        episodes: capacity in episodes.
        mean_length: storage is reserved for ``episodes * mean_length`` steps;
            longer episodes mean that fewer fit.
        batch: episodes of an ``episodes`` sample.
        rows: rows of a ``filled`` sample.
        row_length: steps of such a row.
    """

    store: Literal["packed", "observations", "auto"]
    sampling: Literal["episodes", "filled", "fresh"]
    episodes: Positive
    mean_length: Positive
    batch: Positive
    rows: Positive
    row_length: Positive


@config
class EvalConfig:
    """Greedy evaluation (key ``eval``).

    Attributes:
        every: env steps between evaluations.
        episodes: episodes an evaluation; each world plays its first one only.
        worlds: worlds stepped together; divides ``episodes``.
    """

    every: Positive
    episodes: Positive
    worlds: Positive


@config
class CheckpointConfig:
    """Checkpoints (key ``checkpoint``).

    Attributes:
        every: env steps between checkpoints; a multiple of ``eval.every``.
        keep: checkpoints kept.
        replay: whether replay is saved as well.
    """

    every: Positive
    keep: Positive
    replay: bool


@config
class SweepConfig:
    """What a run sweeps, and how many seeds run at once (key ``sweep``).

    Attributes:
        hypers: hyper-parameters by name, each with the values that it takes; every
            seed is trained with every combination, in the same program.
        chunk: seeds of one program, the rest follow; ``None``: as many as fit.
        device_memory: to plan for, e.g. ``80GB``; ``None`` asks the device.
        fraction: of it that a chunk may take, in (0, 1].
        plan_only: whether to print the plan and stop.
        coordinator: ``host:port`` where processes meet, ``auto`` inside a Slurm step,
            ``None``: they do not.
        processes: that share the seeds.
        process: number of this one.
    """

    hypers: dict[str, tuple[float, ...]]
    chunk: Positive | None
    device_memory: str | None
    fraction: float
    plan_only: bool
    coordinator: str | None
    processes: Positive | None
    process: Natural | None


@config
class RunConfig:
    """The whole experiment, as ``config.yaml`` in the run directory has it.

    Attributes:
        algo: mapping for the learner's own configuration record.
        env: mapping for the environment's own configuration record.
        logger: mapping for ``loggers.make``.
        bridge: mapping for ``bridge.config``; empty for worlds that are compiled.
        train: how experience becomes updates.
        replay: what is kept of it.
        eval: greedy evaluation.
        checkpoint: how often, and how many are kept.
        sweep: hyper-parameters and seeds that share the program.
        seeds: how many.
        seed: id of the first.
        total_steps: env steps a seed.
        log_every: env steps between rows of ``metrics.jsonl``; divides
            ``eval.every``.
        run_dir: where output goes.
        resume: go on from its last checkpoint.
        deterministic: ask XLA for deterministic kernels on accelerators.
        preset: name of the ``run/`` file, for the record.
    """

    algo: dict[str, Any]
    env: dict[str, Any]
    logger: dict[str, Any]
    bridge: dict[str, Any]
    train: TrainConfig
    replay: ReplayConfig
    eval: EvalConfig
    checkpoint: CheckpointConfig
    sweep: SweepConfig
    seeds: Positive
    seed: Natural
    total_steps: Positive
    log_every: Positive
    run_dir: str
    resume: bool
    deterministic: bool
    preset: str
