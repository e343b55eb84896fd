"""Runs that are to be compared: found by folder or pattern, and brought together.

Runs whose configurations differ in nothing but seeds, and in what does not decide what
a seed learns, are one curve over all their seeds.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError, require_name
from rolemarl_jax.disk import rundir
from rolemarl_jax.members import Row
from rolemarl_jax.report import lines, names

MERGES = ("same", "algo", "none")
MARKS = "*?["
DIFFERING = 3  # keys that a label names at most
SWEPT = "swept"  # a key whose value each combination has of its own
PARTS = (".name", ".learner")  # keys that say which part a configuration is made of
# What does not decide what a seed learns, or is named by the label already.
APART = (
    *("seed", "seeds", "run_dir", "resume", "total_steps", "preset", "log_every"),
    *("eval", "checkpoint", "logger", "bridge", "sweep", "deterministic"),
    *("train.host_devices", "train.seeds_by", "train.seeds_together", "replay.store"),
    *("env.name", "env.map", "algo.name"),
)


class Group(NamedTuple):
    """Seeds of one experiment, from one run or several.

    Attributes:
        label: algorithm, and what tells it from others of its name in this world.
        world: ``smax/3m``.
        runs: directories.
        rows: of all seeds, each seed once.
    """

    label: str
    world: str
    runs: tuple[str, ...]
    rows: list[Row]


class Gathered(NamedTuple):
    """What was found.

    Attributes:
        groups: in order of appearance.
        broken: what is wrong with runs that were left out, by directory.
        notes: what else is to be told.
    """

    groups: list[Group]
    broken: dict[str, str]
    notes: list[str]


class _Run(NamedTuple):
    """A run directory, its configuration, and its rows by member."""

    folder: str
    config: dict[str, Any]
    members: dict[Any, list[Row]]


class _Own(NamedTuple):
    """Rows of one member in one run, and the env steps that they reach."""

    reached: int
    folder: str
    rows: list[Row]


def gather(
    patterns: Sequence[str], merge: str = "same", labels: Sequence[str] = ()
) -> Gathered:
    """Finds runs and brings those of one experiment together.

    Args:
        patterns: run directories, folders that hold some, or patterns such as
            ``runs/acorm-*``.
        merge: ``same`` brings runs together whose configurations mean the same,
            ``algo`` all runs of an algorithm in a world, ``none`` no two runs.
        labels: names in place of those found, in order of appearance.

    Raises:
        ConfigError: nothing is found, no run can be read, or labels do not fit.
    """
    require_name("merge", merge, MERGES)
    if not patterns:
        raise ConfigError("runs: got []; allowed: one or more run directories")
    good, broken = names.sifted(folders(patterns))
    runs: list[_Run] = []
    for folder in good:
        try:
            runs.append(_Run(folder, rundir.load(folder), _members(folder)))
        except ConfigError as error:
            broken[folder] = str(error)
    if not runs:
        raise ConfigError("\n".join(broken.values()))
    notes: list[str] = []
    groups = [
        Group(label, names.world(part[0].config), tuple(r.folder for r in part), rows)
        for name, part in zip(*_parts(runs, merge), strict=True)
        for label, rows in _by_combination(name, _rows(part, notes))
    ]
    return Gathered(_named(groups, labels), broken, notes)


def folders(patterns: Sequence[str]) -> list[str]:
    """Run directories, each once.

    Raises:
        ConfigError: a pattern that nothing has, or a folder without a run.
    """
    found = [folder for pattern in patterns for folder in _matching(str(pattern))]
    return list(dict.fromkeys(found))


def _matching(pattern: str) -> list[str]:
    """Runs that one pattern names: folders themselves, or what they hold."""
    is_pattern = any(mark in pattern for mark in MARKS) and not os.path.exists(pattern)
    places = sorted(glob.glob(pattern)) if is_pattern else [pattern]
    inside = [(place, list(_inside(place))) for place in places if os.path.isdir(place)]
    if is_pattern and not any(runs for _, runs in inside):
        raise ConfigError(
            f"runs: got '{pattern}', which matches {len(places)} files and no run; "
            "allowed: run directories, folders that hold some, or patterns of these"
        )
    # A folder that was named and holds nothing is told as a run that cannot be read.
    kept = [runs or ([] if is_pattern else [place]) for place, runs in inside]
    return [run for runs in kept or [places] for run in runs]


def _inside(folder: str) -> Iterator[str]:
    """A run directory itself, or all below a folder; chunks belong to their run.

    What cannot be looked into may be a run, and is told as one that cannot be read.
    """
    sealed: list[str] = []
    for place, below, files in os.walk(
        folder, onerror=lambda error: sealed.append(str(error.filename))
    ):
        below.sort()
        if set(files) & {rundir.CONFIG, rundir.METRICS}:
            below.clear()
            yield place
    yield from sealed


def _parts(runs: Sequence[_Run], merge: str) -> tuple[list[str], list[list[_Run]]]:
    """Labels, and the runs of each."""
    parts: dict[Any, list[_Run]] = {}
    for run in runs:
        parts.setdefault(_key(run, merge), []).append(run)
    groups = list(parts.values())
    return _labels(groups), groups


def _key(run: _Run, merge: str) -> Any:
    """What runs have in common that belong together."""
    if merge == "none":
        return run.folder
    where = names.algo(run.config), names.world(run.config)
    if merge == "algo":
        return where
    return where, tuple(sorted((k, str(v)) for k, v in _meaning(run).items()))


def _meaning(run: _Run) -> dict[str, Any]:
    """Leaves that decide what a seed learns."""
    hypers = run.config.get("sweep", {}).get("hypers") or {}
    return {
        key: SWEPT if key.startswith("algo.") and _last(key) in hypers else value
        for key, value in rundir.leaves(run.config)
        if not any(key == one or key.startswith(f"{one}.") for one in APART)
    }


def _labels(groups: Sequence[Sequence[_Run]]) -> list[str]:
    """The algorithm, with the keys or else the folder in which its groups differ."""
    found = []
    for group in groups:
        algo, world = names.algo(group[0].config), names.world(group[0].config)
        rivals = [
            other[0]
            for other in groups
            if (names.algo(other[0].config), names.world(other[0].config))
            == (algo, world)
        ]
        found.append(f"{algo} {_difference(group[0], rivals)}".rstrip())
    return found


def _difference(run: _Run, rivals: Sequence[_Run]) -> str:
    """What tells a run from others of its algorithm and world, as short as possible."""
    if len(rivals) == 1:
        return ""
    meanings = [_meaning(one) for one in rivals]
    own = _meaning(run)
    keys = sorted({key for one in meanings for key in one})
    differing = [k for k in keys if len({str(one.get(k)) for one in meanings}) > 1]
    # A name of a part brings its keys along.
    for told in (differing, [k for k in differing if k.endswith(PARTS)]):
        values = {tuple(str(one.get(k)) for k in told) for one in meanings}
        whole = all(k in one for k in told for one in meanings)
        if whole and len(told) <= DIFFERING and len(values) == len(meanings):
            return " ".join(f"{_short(k)}={own[k]}" for k in told if own[k] != SWEPT)
    folders = [Path(one.folder).name for one in rivals]
    folder = Path(run.folder)
    return f"({folder if len(set(folders)) < len(folders) else folder.name})"


def _short(key: str) -> str:
    """The last word of a key; of a name, what it is the name of."""
    return _last(key.removesuffix(".name"))


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _rows(part: Sequence[_Run], notes: list[str]) -> list[Row]:
    """Rows of all runs; of a seed that several have, those of the one that got on."""
    held: dict[Any, list[_Own]] = {}
    for run in part:
        for member, rows in run.members.items():
            reached = max(int(row["env_steps"]) for row in rows)
            held.setdefault(member, []).append(_Own(reached, run.folder, rows))
    shared = {tuple(o.folder for o in own) for own in held.values() if len(own) > 1}
    notes += [
        f"{' and '.join(folders)} have seeds in common; each counts once, from the "
        "run that got further (merge=none draws both)"
        for folders in sorted(shared)
    ]
    notes += _lengths(part)
    kept = [max(own, key=lambda one: one.reached) for own in held.values()]
    return [row for own in kept for row in own.rows]


def _lengths(part: Sequence[_Run]) -> Iterator[str]:
    """Tells of runs that are brought together and were not asked for equal lengths."""
    asked = {run.folder: run.config.get("total_steps") for run in part}
    known = {folder: steps for folder, steps in asked.items() if steps is not None}
    if len(set(known.values())) > 1:
        told = " and ".join(f"{folder} ({steps})" for folder, steps in known.items())
        yield (
            f"{told} have different total_steps and count as one; numbers are those of "
            "each seed's own end (merge=none keeps them apart)"
        )


def _members(folder: str) -> dict[Any, list[Row]]:
    """Rows of a run by seed and combination of hyper-parameters.

    Raises:
        ConfigError: they cannot be read.
    """
    found: dict[Any, list[Row]] = {}
    for row in lines.read(Path(folder) / rundir.METRICS):
        member = int(row["seed"]), *members.of_row(row).items()
        found.setdefault(member, []).append(row)
    return found


def _by_combination(label: str, rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows of each combination of swept hyper-parameters; all where none is swept."""
    for hypers, part in members.grouped(rows) or [({}, [])]:
        yield f"{label} {members.text(hypers)}".rstrip(), list(part)


def _named(groups: Sequence[Group], labels: Sequence[str]) -> list[Group]:
    """Groups with the names that were asked for.

    Raises:
        ConfigError: not as many as there are, or one twice.
    """
    if not labels:
        return list(groups)
    found = list(dict.fromkeys(group.label for group in groups))
    given = [str(label) for label in labels]
    if len(given) != len(found) or len(set(given)) < len(given):
        raise ConfigError(
            f"labels: got {given}; allowed: one of its own for each of {found}"
        )
    new: Mapping[str, str] = dict(zip(found, given, strict=True))
    return [group._replace(label=new[group.label]) for group in groups]
