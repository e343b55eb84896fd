"""Commands that go on from what another one left: parameters, studies, policies.

python -m pytest -m slow tests/reliability/test_taking_up.py
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tries
from support import REPO

from rolemarl_jax.disk import checkpoint, rundir

pytestmark = pytest.mark.slow
ARGUMENTS = tries.CONFIGURATIONS["qmix"]


def test_a_run_that_begins_with_anothers_parameters(tmp_path):
    """Killed and taken up it equals itself; its source may be gone by then."""
    source, whole, killed = (tmp_path / x for x in "abc")
    tries.trained(*ARGUMENTS, f"run_dir={source}")
    begun = (*ARGUMENTS, f"init_from={source}")
    tries.trained(*begun, f"run_dir={whole}")
    assert tries.left(whole) != tries.left(source)
    _killed_with_a_checkpoint(*begun, f"run_dir={killed}")
    shutil.move(source, tmp_path / "elsewhere")
    tries.trained(f"run_dir={killed}", "resume=true")
    assert tries.left(killed) == tries.left(whole)


def _killed_with_a_checkpoint(*arguments):
    """Kills a run as soon as its first checkpoint is there."""
    run_dir = Path(arguments[-1].removeprefix("run_dir="))
    run = tries.start(*arguments)
    while checkpoint.latest(run_dir / rundir.CHECKPOINTS) is None:
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    tries.ended(run)
    assert not trained_to_the_end(run_dir)


def trained_to_the_end(run_dir):
    return '"env_steps": 1600' in (run_dir / rundir.METRICS).read_text()


def command(module, *options):
    """A command's exit status and what it printed."""
    made = subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *options],
        cwd=REPO,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=tries.PATIENCE,
    )
    return made.returncode, made.stdout + made.stderr


def test_a_policy_is_sampled_over_the_bridge(tmp_path):
    """Both ways are told apart, and greedy episodes of one seed repeat themselves."""
    run = f"run_dir={tmp_path / 'run'}"
    tries.trained(*tries.CONFIGURATIONS["bridge_mappo"], run)
    out = {}
    for policy in ("greedy", "sampled"):
        file = tmp_path / f"{policy}.json"
        options = (run, f"policy={policy}", "episodes=40", f"out={file}")
        code, said = command("evaluate", *options)
        assert code == 0 and policy in said, said
        out[policy] = json.loads(file.read_text())
    assert out["greedy"] != out["sampled"]


def test_a_study_that_is_stopped_goes_on(tmp_path):
    """Status 143; the second command makes what is missing and equals one alone."""
    study = ("study=smax_3m", "scale=smoke", "algos=[iql]")
    for name in ("whole", "stopped"):
        made = tmp_path / name
        options = (*study, f"runs={made}", f"docs={made / 'docs'}")
        if name == "stopped":
            _stopped(options, made)
        code, said = command("reproduce", *options)
        assert code == 0, said
    whole, stopped = (
        [next((tmp_path / name).rglob(file)) for file in (rundir.METRICS, "results.md")]
        for name in ("whole", "stopped")
    )
    assert tries.rows(whole[0].parent) == tries.rows(stopped[0].parent)
    assert whole[1].read_text() == stopped[1].read_text()


def _stopped(options, made):
    """Starts a study and stops it once its first run has written a row."""
    run = subprocess.Popen(
        [sys.executable, "-m", "experiments.reproduce", *options],
        cwd=REPO,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + tries.PATIENCE
    while not any(path.stat().st_size for path in made.rglob(rundir.METRICS)):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=tries.PATIENCE)
    assert run.returncode == 143, said
