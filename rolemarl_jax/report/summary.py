"""``summary.json``: written as a whole, and read as one record.

What it holds is made by ``findings.summarise``. Older files lack keys that came
later; their fields are then empty, or NaN where they are numbers.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.members import Hypers
from rolemarl_jax.report.stats import Interval
from rolemarl_jax.run_config import RunConfig

MEASURES = {"win_rate": "Win rate", "return": "Return"}

Means = dict[str, Interval]  # interquartile means over seeds, by measure
Scores = dict[str, float]  # of one seed, by measure; NaN where unknown


class SeedScores(NamedTuple):
    """Evaluations of one seed.

    Attributes:
        final: the last one.
        last_three: mean of the last three.
        best: the highest one, biased upwards.
    """

    final: Scores
    last_three: Scores
    best: Scores


class Diverged(NamedTuple):
    """A member that diverged.

    Attributes:
        seed: its id.
        hypers: its combination; empty where nothing is swept.
        frozen_at: env steps.
    """

    seed: int
    hypers: Hypers
    frozen_at: int


class Combination(NamedTuple):
    """One combination of swept hyper-parameters.

    Attributes:
        rank: 1 for the best.
        hypers: what was combined.
        seeds: that have been evaluated.
        frozen: members of it that diverged.
        last_three: over its seeds.
        per_seed: by id; empty in older files.
    """

    rank: int
    hypers: Hypers
    seeds: int
    frozen: int
    last_three: Means
    per_seed: dict[str, SeedScores]


@dataclass(frozen=True)
class Summary:
    """What a finished run tells.

    Attributes:
        algo: its name.
        env: name of the world.
        map: of the world; None where it has none.
        preset: name of the ``run/`` file.
        seeds: that have been evaluated.
        env_steps: of the member that got least far.
        test_episodes: an evaluation.
        measure: ``win_rate``, or ``return`` where no episode was ever won.
        final: over the last evaluations of all seeds.
        last_three: over the means of each seed's last three: the headline.
        best: over each seed's highest one, biased upwards.
        per_seed: by id; empty where hyper-parameters are swept.
        ranking: combinations, best first; empty where nothing is swept.
        frozen: members that diverged.
        measured: speed, and whatever else the run said of itself.
        device: kind and number.
        versions: of Python and libraries, by name.
        commit: of the code, None outside git.
    """

    algo: str | None
    env: str | None
    map: str | None
    preset: str | None
    seeds: int
    env_steps: int
    test_episodes: int
    measure: str
    final: Means
    last_three: Means
    best: Means
    per_seed: dict[str, SeedScores]
    ranking: tuple[Combination, ...]
    frozen: tuple[Diverged, ...]
    measured: dict[str, Any]
    device: str | None
    versions: dict[str, str]
    commit: str | None


# What has no field of its own was measured by the run.
KEYS = {*Summary.__dataclass_fields__, "hypers"} - {"measured"}


def write(run_dir: Path, values: Mapping[str, Any]) -> Path:
    """Writes ``summary.json`` as a whole; returns its path.

    Args:
        run_dir: existing directory of the run.
        values: of ``findings.summarise``.
    """
    path = run_dir / rundir.SUMMARY
    files.write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
    return path


def read(run_dir: Path) -> Summary | None:
    """The summary of a finished run, None where there is none.

    Raises:
        ConfigError: the file is damaged, or cannot be read.
    """
    path = run_dir / rundir.SUMMARY
    if not files.is_file(path, "run_dir"):
        return None
    text = files.read_text(path, "run_dir")
    try:
        return parsed(json.loads(text))
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ConfigError(
            f"run_dir: '{path}' is damaged ({type(error).__name__}: {error}); without "
            "it, resume=true makes it anew"
        ) from None


def known(run_dir: Path) -> Summary | None:
    """As ``read``, None also where the file is damaged: it is made anew from rows."""
    try:
        return read(run_dir)
    except ConfigError:
        return None


def is_whole(found: Summary | None, cfg: RunConfig) -> bool:
    """Whether all seeds of a run have come to its end; chunks may be missing."""
    return (
        found is not None
        and found.seeds >= cfg.seeds
        and found.env_steps >= cfg.total_steps
    )


def parsed(values: Mapping[str, Any]) -> Summary:
    """The record of what ``summary.json`` holds, or held in older versions."""
    return Summary(
        algo=values.get("algo"),
        env=values.get("env"),
        map=values.get("map"),
        preset=values.get("preset"),
        seeds=values.get("seeds", 0),
        env_steps=values.get("env_steps", 0),
        test_episodes=values.get("test_episodes", 0),
        measure=values.get("measure") or _measure(values.get("best", {})),
        final=_means(values.get("final", {})),
        last_three=_means(values.get("last_three", {})),
        best=_means(values.get("best", {})),
        per_seed=_per_seed(values),
        ranking=tuple(map(_combination, values.get("ranking", ()))),
        frozen=tuple(Diverged(**one) for one in values.get("frozen", ())),
        measured={key: value for key, value in values.items() if key not in KEYS},
        device=values.get("device"),
        versions=values.get("versions", {}),
        commit=values.get("commit"),
    )


def _measure(best: Mapping[str, Any]) -> str:
    """What older files do not name: the win rate, where there ever was one."""
    rate = best.get("win_rate", {}).get("high")
    return "win_rate" if rate is not None and rate > 0 else "return"


def _combination(values: Mapping[str, Any]) -> Combination:
    """One combination of the ranking."""
    plain = {key: values[key] for key in ("rank", "hypers", "seeds", "frozen")}
    last_three = _means(values["last_three"])
    return Combination(**plain, last_three=last_three, per_seed=_per_seed(values))


def _per_seed(values: Mapping[str, Any]) -> dict[str, SeedScores]:
    """Each seed's evaluations, by id."""
    return {
        seed: SeedScores(*(_scores(one.get(at, {})) for at in SeedScores._fields))
        for seed, one in values.get("per_seed", {}).items()
    }


def _means(found: Mapping[str, Any]) -> Means:
    """Intervals of all measures."""
    parts = {key: found.get(key, {}) for key in MEASURES}
    return {
        key: Interval(*(_number(part.get(name)) for name in ("iqm", "low", "high")))
        for key, part in parts.items()
    }


def _scores(found: Mapping[str, Any]) -> Scores:
    """Numbers of all measures."""
    return {key: _number(found.get(key)) for key in MEASURES}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
