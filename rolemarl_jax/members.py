"""Members of a run: every combination of swept hyper-parameters with every seed.

A member is an experiment of its own. Its keys depend on its seed alone, so that
members of one seed differ in their hyper-parameters and in nothing else. Members are
ordered by seed, then by combination.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from rolemarl_jax.config import INT32, ConfigError, nearest
from rolemarl_jax.run_config import RunConfig

Row = dict[str, Any]
Hypers = dict[str, float]
MOST = 10**6  # members of a run
COLUMN = "hyper/"  # prefix of a hyper-parameter in rows


class Member(NamedTuple):
    """One experiment: the id of its seed, and what differs from the configuration."""

    seed: int  # id
    hypers: Hypers  # by name


def combinations(cfg: RunConfig) -> list[Hypers]:
    """All combinations of ``sweep.hypers``; an empty one where nothing is swept."""
    names, lists = cfg.sweep.hypers.keys(), cfg.sweep.hypers.values()
    return [dict(zip(names, values, strict=True)) for values in product(*lists)]


def count(cfg: RunConfig) -> int:
    """How many members a run has."""
    return cfg.seeds * prod(len(values) for values in cfg.sweep.hypers.values())


def check_count(cfg: RunConfig) -> None:
    """Refuses more members than can be listed, and ids of seeds beyond int32.

    Raises:
        ConfigError: names the keys.
    """
    last = INT32 - cfg.seeds + 1
    if cfg.seed > last:
        raise ConfigError(
            f"seed: got {cfg.seed} with seeds={cfg.seeds}; allowed: up to {last} (ids "
            "of seeds are int32)"
        )
    if count(cfg) > MOST:
        raise ConfigError(
            f"sweep.hypers: got {count(cfg) // cfg.seeds} combinations for each of "
            f"seeds={cfg.seeds}; allowed: up to {MOST} members together"
        )


def times(cfg: RunConfig) -> str:
    """`` with 4 combinations``, which a seed has; empty where it has one."""
    number = len(combinations(cfg))
    return f" with {number} combinations" if number > 1 else ""


def members(cfg: RunConfig, length: int | None = None) -> list[Member]:
    """The members of a run, or as many as are asked for, seeds going on."""
    every = combinations(cfg)
    whole = count(cfg) if length is None else length
    return [
        Member(cfg.seed + i // len(every), every[i % len(every)]) for i in range(whole)
    ]


def arrays(cfg: RunConfig, length: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Seed ids and hyper-parameters of the first members, `[length]` each.

    Ids of the surplus, which is never reported, may be those of others.
    """
    listed = members(cfg, length)
    hypers = {
        name: np.array([one.hypers[name] for one in listed], np.float32)
        for name in cfg.sweep.hypers
    }
    return np.array([min(one.seed, INT32) for one in listed], np.int32), hypers


def check(cfg: RunConfig, known: Iterable[str]) -> None:
    """Refuses hyper-parameters that the algorithm does not read, and bad lists.

    Args:
        known: names in ``LearnerState.hypers``.

    Raises:
        ConfigError: names the key.
    """
    check_count(cfg)
    known = set(known)
    for name, values in cfg.sweep.hypers.items():
        key, algo = f"sweep.hypers.{name}", cfg.algo.get("name")
        if name not in known:
            raise ConfigError(
                f"{key}: algo={algo} has no such hyper-parameter; "
                + nearest(name, known)
            )
        given = list(values)
        if not given:
            raise ConfigError(
                f"{key}: got {given}; allowed: one or more finite numbers"
            )
        if len(np.unique(np.array(given, np.float32))) < len(given):
            raise ConfigError(f"{key}: got {given}; allowed: each number once")


def text(hypers: Mapping[str, float]) -> str:
    """``lr=0.0003 alpha=0.1``; empty where nothing is swept."""
    return " ".join(f"{name}={number(value)}" for name, value in hypers.items())


def number(value: float) -> str:
    """As few digits as tell it from others."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def columns(hypers: Mapping[str, float]) -> Row:
    """Hyper-parameters as columns of a row."""
    return {COLUMN + name: value for name, value in hypers.items()}


def of_row(row: Mapping[str, Any]) -> Hypers:
    """Hyper-parameters in the columns of a row."""
    return {
        name.removeprefix(COLUMN): value
        for name, value in row.items()
        if name.startswith(COLUMN)
    }


def grouped(rows: Iterable[Row]) -> list[tuple[Hypers, Sequence[Row]]]:
    """Rows by combination, in order of appearance; one group where none is swept."""
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(of_row(row).items()), []).append(row)
    return [(dict(key), part) for key, part in found.items()]
