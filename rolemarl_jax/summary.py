"""``summary.json``: what a run found, how surely, how fast, and on what.

Every number is recomputed from the rows of ``metrics.jsonl``, so a summary can be
made again for a run that was cut short.
"""

import json
import os
import platform
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rolemarl_jax import stats
from rolemarl_jax.config import RunConfig

Row = dict[str, Any]
SUMMARY = "summary.json"
MEASURES = ("win_rate", "return")
LIBRARIES = (
    *("jax", "jaxlib", "flax", "optax", "chex", "distrax", "numpy"),
    *("orbax-checkpoint", "jaxmarl", "hydra-core", "rolemarl_jax"),
)


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
    """
    seeds = per_seed(rows)
    return {
        "algo": cfg.algo.get("name"),
        "env": cfg.env.get("name"),
        "map": cfg.env.get("map"),
        "preset": cfg.preset,
        "seeds": len(seeds),
        "env_steps": max((int(row["env_steps"]) for row in rows), default=0),
        "test_episodes": cfg.eval.episodes,
        "final": _over_seeds(seeds, "final"),
        "last_three": _over_seeds(seeds, "last_three"),
        "best": _over_seeds(seeds, "best"),
        "per_seed": _plain({str(seed): found for seed, found in seeds.items()}),
        **_plain(dict(speed)),
        "device": device(),
        "versions": versions(),
        "commit": commit(),
    }


def per_seed(rows: Sequence[Row]) -> dict[int, dict[str, dict[str, float]]]:
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
            "last_three": {
                key: float(np.mean(column[-3:])) for key, column in values.items()
            },
            "best": {
                key: max((v for v in column if np.isfinite(v)), default=np.nan)
                for key, column in values.items()
            },
        }
    return found


def write(run_dir: Path, summary: Mapping[str, Any]) -> Path:
    """Writes ``summary.json`` as a whole; returns its path."""
    path = run_dir / SUMMARY
    # Processes of one sweep may write the same summary at the same time.
    scratch = path.with_name(f".{SUMMARY}.{uuid.uuid4().hex}.tmp")
    text = json.dumps(summary, indent=2, allow_nan=False)
    scratch.write_text(text + "\n", encoding="utf8")
    os.replace(scratch, path)
    return path


def read(run_dir: Path) -> dict[str, Any] | None:
    """``summary.json`` of a finished run, None where there is none."""
    path = run_dir / SUMMARY
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def device() -> str:
    """Kind and number of the devices in use, e.g. ``NVIDIA H100 x 1``."""
    devices = jax.devices()
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        kind = f"cpu ({platform.processor() or platform.machine()})"
    return f"{kind} x {len(devices)}"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape results."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of this code, with ``+changes`` if it was altered; None outside git."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(here.parent), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:
        return None  # installed into a folder that some other repository holds
    head = git("rev-parse", "HEAD")
    return f"{head}+changes" if git("status", "--porcelain", "-uno") else head


def _over_seeds(
    seeds: Mapping[int, Mapping[str, Mapping[str, float]]], when: str
) -> dict[str, Any]:
    """IQM over seeds with its interval, by measure."""
    found = {}
    for key in MEASURES:
        values = [seeds[seed][when][key] for seed in seeds]
        known = [value for value in values if np.isfinite(value)]
        iqm = stats.iqm_ci(known) if known else stats.Interval(np.nan, np.nan, np.nan)
        found[key] = {"iqm": iqm.value, "low": iqm.low, "high": iqm.high}
    return _plain(found)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _plain(node: Any) -> Any:
    """Containers that JSON can hold, NaN as None."""
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, float | np.floating):
        return float(node) if np.isfinite(node) else None
    return node
