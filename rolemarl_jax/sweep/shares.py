"""A sweep that several processes train, each its own share of the chunks.

All write into one ``run_dir``. Chunks go round: chunk k belongs to process k modulo
their number, so that who trains what needs no word during training. Processes that
meet (``sweep.coordinator``) agree on everything beforehand; jobs that a queue starts
whenever it likes (``sweep.processes`` alone) agree with what lies in ``run_dir``.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.sweep import hosts

# What hosts may choose for themselves.
OWN = ("run_dir", "train.host_devices", "sweep.device_memory")
SEEN_SECONDS = 30.0  # until a file has to show on other hosts


class Share(NamedTuple):
    """Which chunks a process trains: every ``processes``-th, from ``process`` on.

    Attributes:
        process: number of this one, from 0.
        processes: how many there are.
    """

    process: int
    processes: int


ALONE = Share(0, 1)


def wanted(cfg: RunConfig) -> bool:
    """Whether other processes train a part of the seeds."""
    asked = (cfg.sweep.coordinator, cfg.sweep.processes, cfg.sweep.process)
    return any(value is not None for value in asked)


def settle(
    cfg: RunConfig, plan: Callable[[RunConfig], RunConfig]
) -> tuple[RunConfig, Share]:
    """What all processes agreed on, and this one's share; ``run_dir`` is there then.

    Args:
        cfg: as this process was started with. plan: sets ``sweep.chunk``.

    Returns:
        The configuration of the sweep, with ``sweep.chunk`` and without the keys that
        belong to one process.

    Raises:
        ConfigError: the same on all processes that meet, before any of them trains.
    """
    if cfg.sweep.coordinator is not None:
        with hosts.meet(cfg.sweep) as meeting:
            share = Share(meeting.process, meeting.processes)
            return _agreed(cfg, meeting, plan), share
    hosts.check(cfg.sweep)
    share = Share(cfg.sweep.process or 0, cfg.sweep.processes or 1)
    _require_seeds(cfg, share.processes)
    chosen = _shared(cfg, cfg.sweep.chunk or -(-cfg.seeds // share.processes))
    if not rundir.claim(chosen):
        _require_equal(rundir.load(cfg.run_dir), chosen)
        if rundir.load_config(cfg.run_dir).total_steps < chosen.total_steps:
            rundir.create(chosen)  # resumed: it may grow
    return chosen, share


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ, but for those that a host may choose."""
    a, b = dict(rundir.leaves(ours)), dict(rundir.leaves(theirs))
    return sorted(
        key for key in {*a, *b} if key not in OWN and a.get(key, ...) != b.get(key, ...)
    )


def _agreed(
    cfg: RunConfig,
    meeting: hosts.Meeting,
    plan: Callable[[RunConfig], RunConfig],
) -> RunConfig:
    """Same configuration everywhere, the smallest chunk, and one ``run_dir``."""
    _compare(meeting.exchange("config", _plain(_shared(cfg, cfg.sweep.chunk))))
    _require_seeds(cfg, meeting.processes)

    def fitting() -> int:
        share = -(-cfg.seeds // meeting.processes)
        return plan(replace(cfg, seeds=share)).sweep.chunk or share

    chosen = _shared(cfg, min(_tell(meeting, "chunk", fitting)))

    def begin() -> None:
        if meeting.process == 0:
            rundir.create(chosen)

    def see() -> None:
        until = time.monotonic() + SEEN_SECONDS
        while not (Path(cfg.run_dir) / rundir.CONFIG).exists():
            if time.monotonic() > until:
                raise ConfigError(
                    f"run_dir: got '{cfg.run_dir}', where process {meeting.process} "
                    "does not see what process 0 wrote; allowed: a directory that all "
                    "hosts share"
                )
            time.sleep(0.2)

    _tell(meeting, "begin", begin)
    _tell(meeting, "see", see)
    return chosen


def _tell(meeting: hosts.Meeting, topic: str, act: Any) -> list[Any]:
    """Results of what every process does; one's ``ConfigError`` is everyone's."""
    try:
        mine = {"value": act()}
    except ConfigError as error:
        mine = {"error": f"{error} (process {meeting.process})"}
    answers = meeting.exchange(topic, mine)
    errors = [one["error"] for one in answers if "error" in one]
    if errors:
        raise ConfigError("\n".join(dict.fromkeys(errors)))
    return [one["value"] for one in answers]


def _compare(configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuses processes that were started with different configurations."""
    first = dict(rundir.leaves(configs[0]))
    lines = [
        f"{key}: process 0 has {first.get(key)!r}, process {process} "
        f"{dict(rundir.leaves(other)).get(key)!r}"
        for process, other in enumerate(configs)
        for key in differences(configs[0], other)
    ]
    if lines:
        raise ConfigError(
            "sweep.processes: not all were started with the same configuration\n"
            + "\n".join(lines)
        )


def _require_equal(stored: Mapping[str, Any], cfg: RunConfig) -> None:
    """Refuses another configuration; what may change when a run goes on may differ."""
    now = _plain(cfg)
    lines = [
        f"{key}: stored {dict(rundir.leaves(stored)).get(key)!r}, now "
        f"{dict(rundir.leaves(now)).get(key)!r}"
        for key in differences(stored, now)
        if key != "resume" and not (cfg.resume and rundir.is_free(key))
    ]
    if lines:
        raise ConfigError(
            f"run_dir: '{cfg.run_dir}' holds a sweep with another configuration\n"
            + "\n".join(lines)
        )


def _require_seeds(cfg: RunConfig, processes: int) -> None:
    if processes > cfg.seeds:
        raise ConfigError(
            f"sweep.processes: got {processes}; allowed: up to seeds={cfg.seeds}"
        )


def _shared(cfg: RunConfig, chunk: int | None) -> RunConfig:
    """Without what belongs to one process."""
    nothing = {"coordinator": None, "processes": None, "process": None}
    return replace(cfg, sweep=replace(cfg.sweep, chunk=chunk, **nothing))


def _plain(cfg: RunConfig) -> dict[str, Any]:
    return rundir.plain(dataclasses.asdict(cfg))
