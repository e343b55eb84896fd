"""One job a chunk, through Hydra's launcher for Slurm, here with its local executor."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rolemarl_jax.disk import rundir
from rolemarl_jax.report import lines

REPO = Path(__file__).resolve().parents[2]
WORDS = (
    *("algo=iql", "env=windy_maze", "run=debug", "seeds=2", "total_steps=800"),
    *("log_every=200", "eval.every=400", "eval.episodes=8", "checkpoint.every=400"),
    *("algo.role.hidden=8", "replay.episodes=20", "run_dir=swept"),
)


@pytest.mark.slow
def test_a_job_for_each_chunk(tmp_path):
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("the extra `slurm` is not installed")
    command = [sys.executable, "-m", "experiments.run", "-m", *WORDS]
    jobs = ["sweep.processes=2", "sweep.process=0,1"]
    done = subprocess.run(
        [*command, *jobs, "hydra/launcher=submitit_local"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run_dir = tmp_path / "swept"
    assert json.loads((run_dir / "summary.json").read_text())["seeds"] == 2
    for seed in (0, 1):
        part = run_dir / "chunks" / f"{seed:06d}-{seed:06d}"
        found = lines.read(part / rundir.METRICS)
        assert {row["seed"] for row in found} == {seed}
    logs = [*tmp_path.glob("runs/multirun/*/.submitit/*/*_log.out")]
    assert len(logs) == 2, "two processes"
    assert sum("all 2 seeds: swept" in log.read_text() for log in logs) >= 1
