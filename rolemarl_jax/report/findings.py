"""What a run found, how surely, how fast, and on what: what ``summary.json`` holds.

Every number is recomputed from the rows of ``metrics.jsonl``, so a summary can be
made again for a run that was cut short.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rolemarl_jax import members
from rolemarl_jax.members import Row
from rolemarl_jax.report import headline, provenance, stats
from rolemarl_jax.report.summary import MEASURES
from rolemarl_jax.run_config import RunConfig

Found = dict[str, dict[str, float]]  # of a seed: final, last_three, best by measure
Seeds = dict[int, Found]


def summarise(
    cfg: RunConfig, rows: Sequence[Row], speed: Mapping[str, float]
) -> dict[str, Any]:
    """Everything that ``summary.json`` holds.

    Args:
        cfg: of the run.
        rows: of ``metrics.jsonl``; evaluations are those of split ``test``.
        speed: what only the run itself knows: ``steps_per_second`` (env steps of all
            seeds, compilation left out), ``compile_seconds``, ``wall_seconds``, and
            whatever else was measured.

    Returns:
        Plain containers. ``final`` is the last evaluation of each seed,
        ``last_three`` the mean of its last three, ``best`` its highest one (biased
        upwards, the more so the noisier evaluations are); unknown values are None.
        Each has an ``iqm`` over seeds with ``low`` and ``high``: its 95 % interval, of
        fewer than ``stats.ENOUGH`` seeds their range. ``measure`` of ``last_three`` is
        the headline. ``env_steps`` are those of the member that got least far.
        ``frozen`` lists members that diverged. Where hyper-parameters are swept,
        these numbers are over all members, and ``ranking`` has those of each
        combination, best first, instead of ``per_seed``.
    """
    groups = [(hypers, per_seed(part)) for hypers, part in members.grouped(rows)]
    every = [found for _, seeds in groups for found in seeds.values()]
    diverged = frozen(rows)
    return {
        "algo": cfg.algo.get("name"),
        "env": cfg.env.get("name"),
        "map": cfg.env.get("map"),
        "preset": cfg.preset,
        "seeds": len(evaluated(rows)),
        "env_steps": reached(rows),
        "test_episodes": cfg.eval.episodes,
        "measure": headline.measure(rows),
        **_results(every),
        **(
            {"hypers": cfg.sweep.hypers, "ranking": _ranking(groups, diverged)}
            if cfg.sweep.hypers
            else {"per_seed": _plain(_by_name(dict(groups[0][1] if groups else {})))}
        ),
        "frozen": diverged,
        **_plain(dict(speed)),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def reached(rows: Sequence[Row]) -> int:
    """Env steps of the member that got least far; 0 without rows."""
    last: dict[tuple, int] = {}
    for row in rows:
        member = int(row["seed"]), *members.of_row(row).items()
        last[member] = max(last.get(member, 0), int(row["env_steps"]))
    return min(last.values(), default=0)


def evaluated(rows: Sequence[Row]) -> set[int]:
    """Ids of the seeds that have evaluations."""
    return {int(row["seed"]) for row in rows if row["split"] == "test"}


def per_seed(rows: Sequence[Row]) -> Seeds:
    """``{seed: {"final" | "last_three" | "best": {"win_rate", "return"}}}``.

    NaN where unknown; ``last_three`` is the mean of the last three evaluations.
    """
    table: dict[int, list[Row]] = {}
    for row in rows:
        if row["split"] == "test":
            table.setdefault(int(row["seed"]), []).append(row)
    found = {}
    for seed in sorted(table):
        tests = sorted(table[seed], key=lambda row: row["env_steps"])
        values = {key: [_number(row.get(key)) for row in tests] for key in MEASURES}
        found[seed] = {
            "final": {key: column[-1] for key, column in values.items()},
            "last_three": {key: headline.of_seed(c) for key, c in values.items()},
            "best": {
                key: max((v for v in column if np.isfinite(v)), default=np.nan)
                for key, column in values.items()
            },
        }
    return found


def frozen(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Members that diverged: ``seed``, ``hypers`` and ``frozen_at``."""
    found: dict[tuple, dict[str, Any]] = {}
    for row in rows:
        if "frozen_at" in row:
            hypers, seed = members.of_row(row), int(row["seed"])
            record = {"seed": seed, "hypers": hypers, "frozen_at": row["frozen_at"]}
            found[(seed, *hypers.items())] = record
    return list(found.values())


def _ranking(
    groups: Sequence[tuple[members.Hypers, Seeds]],
    diverged: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One record a combination that has rows, best first."""
    records = [
        {
            "hypers": hypers,
            "seeds": len(seeds),
            "frozen": sum(one["hypers"] == hypers for one in diverged),
            **_results(list(seeds.values())),
            "per_seed": _plain(_by_name(seeds)),
        }
        for hypers, seeds in groups
    ]
    return ranked(records)


def ranked(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records of combinations, best first, with ``rank``; unknown results come last."""

    def merit(record: dict[str, Any]) -> list[float]:
        found = [record["last_three"][key]["iqm"] for key in MEASURES]
        return [-math.inf if value is None else value for value in found]

    ordered = sorted(records, key=merit, reverse=True)
    return [{"rank": i, **record} for i, record in enumerate(ordered, 1)]


def _results(seeds: Sequence[Found]) -> dict[str, Any]:
    """Interquartile means of all that an experiment has."""
    return {when: _over_seeds(seeds, when) for when in ("final", "last_three", "best")}


def _by_name(seeds: Seeds) -> dict[str, Found]:
    return {str(seed): found for seed, found in seeds.items()}


def _over_seeds(seeds: Sequence[Found], when: str) -> dict[str, Any]:
    """IQM over seeds with its interval, or range of few seeds, by measure."""
    out = {}
    for key in MEASURES:
        values = [found[when][key] for found in seeds]
        known = [value for value in values if np.isfinite(value)]
        iqm = stats.over_seeds(known)
        out[key] = {"iqm": iqm.value, "low": iqm.low, "high": iqm.high}
    return _plain(out)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _plain(node: Any) -> Any:
    """Containers that JSON can hold, NaN as None."""
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, float | np.floating):
        return float(node) if np.isfinite(node) else None
    return node
