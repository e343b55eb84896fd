"""How many seeds fit on a device at once: compiled, not guessed."""

import os
import re
from dataclasses import replace
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError, parse_bytes
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.compiled import compile_program
from rolemarl_jax.program.program import make_program
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.sweep.cards import target
from rolemarl_jax.types import Env

MEMINFO = "/proc/meminfo"
GROUPS = (  # what a container may use and what it uses, of both kinds of groups
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
PROBES = (2, 4)  # seeds of the programs that are compiled to be measured


class Plan(NamedTuple):
    """Seeds by chunks.

    Attributes:
        seeds: of the run.
        chunk: seeds of one program.
        chunks: how many programs.
        fixed: bytes of a program without seeds.
        seed: bytes of each seed, all its combinations of hyper-parameters together.
        memory: bytes that a chunk may take, over all devices.
    """

    seeds: int
    chunk: int
    chunks: int
    fixed: int
    seed: int
    memory: int


def make_plan(cfg: RunConfig, env: Env, learner: Learner) -> Plan:
    """Fits bytes a seed to programs of two sizes and fills the memory with seeds.

    Where ``train.seeds_together`` bounds what is batched, both sizes are multiples of
    it, so that the group's working memory counts once. A seed is as many members as
    there are combinations of hyper-parameters, which weigh the same.

    Raises:
        ConfigError: not even one seed fits, or a chunk that was asked for does not.
    """
    here = cfg.sweep.device_memory is None and cfg.sweep.card is None
    devices = len(jax.devices()) if here else 1
    # Cores are devices that share one memory, and each works on a seed of its own.
    sharing = devices if here and jax.devices()[0].platform == "cpu" else 1
    memory = int(cfg.sweep.fraction * _memory(cfg)) // sharing
    group = cfg.train.seeds_together or 1
    sizes = [count * group for count in PROBES]
    small, large = (_peak(_plain(cfg, n), env, learner) for n in sizes)
    member = max(1, (large - small) // (sizes[1] - sizes[0]))
    fixed = max(0, small - member * sizes[0])
    of_seed = len(members.combinations(cfg))
    seed = member * of_seed
    fits = max(0, memory - fixed) // member * devices // of_seed
    if fits < 1 or (cfg.sweep.chunk or 0) > fits:
        raise ConfigError(
            f"sweep.chunk: got {cfg.sweep.chunk}; allowed: up to {fits} seeds "
            f"({seed / 1e6:.1f} MB each{members.times(cfg)} and "
            f"{fixed / 1e6:.1f} MB once, in {memory / 1e9:.2f} GB); a smaller "
            "replay.episodes or train.seeds_together, or fewer values in sweep.hypers, "
            "needs less"
        )
    whole = lcm(group * devices, of_seed) // of_seed
    chunk = min(cfg.seeds, cfg.sweep.chunk or fits // whole * whole or fits)
    chunks = -(-cfg.seeds // chunk)
    even = -(-cfg.seeds // chunks)
    return Plan(
        seeds=cfg.seeds,
        chunk=even,
        chunks=chunks,
        fixed=fixed,
        seed=seed,
        memory=memory * devices,
    )


def needs_plan(cfg: RunConfig, member_bytes: int) -> bool:
    """Whether what is kept is so much that working memory has to be known.

    Args:
        cfg: of the run.
        member_bytes: that one member keeps between segments.
    """
    if cfg.sweep.plan_only:
        return True
    memory = cfg.sweep.fraction * _memory(cfg)
    at_once = min(cfg.seeds, cfg.sweep.chunk or cfg.seeds)
    at_once *= len(members.combinations(cfg))
    return at_once * member_bytes > 0.3 * memory


def require_room(cfg: RunConfig, kept: int, replay: int) -> None:
    """Refuses an experiment that alone is more than the memory; compiles nothing.

    Args:
        cfg: of the run.
        kept: bytes of one seed between segments, and what saving it takes.
        replay: bytes of these that are its replay.

    Raises:
        ConfigError: names bytes and what would fit.
    """
    memory = int(cfg.sweep.fraction * _memory(cfg))
    if kept <= memory:
        return
    each = replay / cfg.replay.episodes
    fits = int(max(0, memory - (kept - replay)) / each)
    raise ConfigError(
        f"replay.episodes: got {cfg.replay.episodes}; a seed keeps {kept / 1e9:.2f} "
        f"GB, {replay / 1e9:.2f} GB of them replay ({each / 1e6:.3f} MB an episode of "
        f"replay.mean_length={cfg.replay.mean_length}), and {memory / 1e9:.2f} GB may "
        f"be used (sweep.fraction={cfg.sweep.fraction} of what is free); allowed: up "
        f"to {fits} episodes"
    )


def _memory(cfg: RunConfig) -> int:
    """Bytes to plan for: as asked for, of the card that is named, or the device's."""
    if cfg.sweep.device_memory is None and cfg.sweep.card is not None:
        return target.known(cfg.sweep.card).memory
    return memory_bytes(cfg.sweep.device_memory)


def memory_bytes(asked: str | None) -> int:
    """Bytes of the device, or of this machine where the device is a CPU."""
    if asked is not None:
        return parse_bytes(asked)
    device = jax.devices()[0]
    stats: dict[str, Any] = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return _host_bytes()


def _host_bytes() -> int:
    """Bytes that a process can still get, what caches of files give back included.

    That of a container is what its group may use and does not.
    """
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text(MEMINFO))
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = 1024 * int(found[1]) if found else pages
    limits = [
        int(most) - int(now)
        for most, now in ((_text(a), _text(b)) for a, b in GROUPS)
        if most.strip().isdigit() and now.strip().isdigit()
    ]
    return max(0, min([free, *limits]))


def _text(path: str) -> str:
    """A file of the kernel, or nothing where there is none."""
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def _plain(cfg: RunConfig, count: int) -> RunConfig:
    """The same run of so many members, which are seeds; of any ids."""
    return replace(cfg, seed=0, seeds=count, sweep=replace(cfg.sweep, hypers={}))


def _peak(cfg: RunConfig, env: Env, learner: Learner) -> int:
    """Bytes that a run of ``cfg.seeds`` seeds on one device needs at its worst."""
    card = cfg.sweep.card
    device = jax.devices()[0] if card is None else target.target(card)[1]
    with target.assumed(card):
        return compile_program(make_program(cfg, env, learner, [device]), cfg).peak
