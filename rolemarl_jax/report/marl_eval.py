"""Evaluations as marl-eval reads them (Gorsane et al. 2022, arXiv:2209.10485).

Environment, task, algorithm, run, step: lists of metrics, here of one number each, the
mean over an evaluation's episodes. ``absolute_metrics`` are there the best policy's,
played anew; no run has that, and the best of many evaluations is biased upwards, so
here they are means of the last three evaluations, the headline of all our tables.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rolemarl_jax import members
from rolemarl_jax.members import Row
from rolemarl_jax.report import headline
from rolemarl_jax.report.gather import Group
from rolemarl_jax.report.summary import MEASURES


def document(groups: Iterable[Group]) -> str:
    """JSON of all runs, seed by seed; without evaluations a seed is left out."""
    found: dict[str, Any] = {}
    for group in groups:
        environment, _, task = group.world.partition("/")
        place = found.setdefault(environment, {}).setdefault(task or environment, {})
        for hypers, rows in members.grouped(group.rows):
            name = f"{group.label} {members.text(hypers)}".rstrip()
            if runs := _runs(rows):
                place[name] = runs
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _runs(rows: Sequence[Row]) -> dict[str, Any]:
    """Steps of every seed, in order."""
    by_seed: dict[int, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row["split"] == "test" and (metrics := _known(row)):
            by_seed.setdefault(row["seed"], {})[row["env_steps"]] = metrics
    return {f"seed_{seed}": _steps(by_seed[seed]) for seed in sorted(by_seed)}


def _steps(evaluations: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Evaluations of one seed by their env steps, and the headline."""
    counts = sorted(evaluations)
    steps: dict[str, Any] = {
        f"step_{i}": {"step_count": count, **_lists(evaluations[count])}
        for i, count in enumerate(counts, start=1)
    }
    columns = {
        name: [evaluations[count].get(name, math.nan) for count in counts]
        for name in MEASURES
    }
    means = {name: headline.of_seed(column) for name, column in columns.items()}
    return {**steps, "absolute_metrics": _lists(_known(means))}


def _known(row: Row) -> dict[str, float]:
    """The measures of an evaluation that are numbers."""
    values = {name: row.get(name) for name in MEASURES}
    return {n: v for n, v in values.items() if v is not None and math.isfinite(v)}


def _lists(metrics: Mapping[str, float]) -> dict[str, list[float]]:
    return {name: [value] for name, value in metrics.items()}
