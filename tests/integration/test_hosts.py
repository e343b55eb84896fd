"""Two processes that meet on this machine and train one sweep."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import SWEEP

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import loggers
from rolemarl_jax.run_config import SweepConfig
from rolemarl_jax.sweep import hosts

REPO = Path(__file__).resolve().parents[2]
SCRIPT = """
import jax
jax.config.update('jax_disable_most_optimizations', True)
from experiments import run
run.main()
"""
WORDS = (
    *("algo=iql", "env=windy_maze", "run=debug", "seeds=2", "total_steps=800"),
    *("log_every=200", "eval.every=400", "eval.episodes=8", "checkpoint.every=400"),
    *("algo.role.hidden=8", "replay.episodes=20"),
)
SPEED = ("wall_s",)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(folder, *words):
    """A training process of a small sweep."""
    env = {**os.environ, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *WORDS, *words],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(processes):
    """Exit statuses and what was said, of all."""
    said = [process.communicate(timeout=600) for process in processes]
    return [
        (process.returncode, out, err)
        for process, (out, err) in zip(processes, said, strict=True)
    ]


def rows(run_dir):
    found = loggers.read(run_dir / rundir.METRICS)
    plain = [{k: v for k, v in row.items() if k not in SPEED} for row in found]
    return sorted(plain, key=lambda r: (r["seed"], r["env_steps"], r["split"]))


def meeting_words(process, port):
    return (
        f"sweep.coordinator=127.0.0.1:{port}",
        *("sweep.processes=2", f"sweep.process={process}", "run_dir=both"),
    )


@pytest.mark.slow
def test_two_processes_train_one_sweep(tmp_path):
    """Each its own seed; together what one process trains."""
    port = free_port()
    both = [start(tmp_path, *meeting_words(process, port)) for process in (0, 1)]
    for status, _, err in ended(both):
        assert status == 0, err[-3000:]
    (alone,) = ended([start(tmp_path, "sweep.chunk=1", "run_dir=alone")])
    assert alone[0] == 0, alone[2][-3000:]
    together = tmp_path / "both"
    np.testing.assert_equal(rows(together), rows(tmp_path / "alone"))
    summary = json.loads((together / "summary.json").read_text())
    assert summary["seeds"] == 2 and list(summary["per_seed"]) == ["0", "1"]
    expected = json.loads((tmp_path / "alone" / "summary.json").read_text())
    assert summary["per_seed"] == expected["per_seed"]
    for seed in (0, 1):
        part = together / "chunks" / f"{seed:06d}-{seed:06d}"
        assert {row["seed"] for row in rows(part)} == {seed}
    assert rundir.load_config(together).sweep.process is None


def test_processes_that_disagree_do_not_begin(tmp_path):
    port = free_port()
    both = [
        start(tmp_path, *meeting_words(process, port), f"algo.gamma=0.9{process}")
        for process in (0, 1)
    ]
    for status, _, err in ended(both):
        assert status == 2
        assert "algo.gamma: process 0 has 0.9, process 1 0.91" in err
    assert list(tmp_path.iterdir()) == []


def test_a_meeting_of_one():
    here = {"coordinator": f"127.0.0.1:{free_port()}", "processes": 1, "process": 0}
    with hosts.meet(build(SweepConfig, {**SWEEP, **here}, "sweep")) as meeting:
        assert meeting.exchange("a", [1, None]) == [[1, None]]
        assert meeting.exchange("b", "x") == ["x"]


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(hosts, "ARRIVAL_SECONDS", 0.3)
    alone = {"coordinator": f"127.0.0.1:{free_port()}", "processes": 2, "process": 1}
    with (
        pytest.raises(ConfigError, match=r"sweep\.coordinator: .*refused"),
        hosts.meet(build(SweepConfig, {**SWEEP, **alone}, "sweep")),
    ):
        pass


def test_slurms_variables_are_read(monkeypatch):
    """What a Slurm step sets is enough."""
    step = {
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "JAX_COORDINATOR_PORT": str(free_port()),
    }
    for key, value in step.items():
        monkeypatch.setenv(key, value)
    detected = {"coordinator": "auto", "processes": None, "process": None}
    with hosts.meet(build(SweepConfig, {**SWEEP, **detected}, "sweep")) as meeting:
        assert (meeting.process, meeting.processes) == (0, 1)
