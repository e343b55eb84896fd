"""Ctrl-C and SIGTERM at any time: the status tells, and nothing is lost or left.

ROLEMARL_TRIES=100 python -m pytest -m slow -s tests/reliability/test_stopping.py
"""

import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
import tries

from rolemarl_jax.disk import rundir
from rolemarl_jax.report import lines

ARGUMENTS = tries.CONFIGURATIONS["qmix"]
PYTHON = 1.0  # seconds until the command's first line, on a busy machine


def test_before_anything_is_compiled(tmp_path):
    run = tries.start(*ARGUMENTS, f"run_dir={tmp_path / 'run'}")
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(1.0)
    run.send_signal(signal.SIGTERM)
    code, said = tries.ended(run)
    assert code == 143, said
    assert said.endswith("stopped\n") and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def trained_to_the_end(run_dir):
    """Whether no part of a run is left that a signal could stop."""
    path = run_dir / rundir.METRICS
    return path.exists() and lines.read(path)[-1]["env_steps"] >= 1600


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qmix", "bridge"])
def test_delays(name, tmp_path):
    arguments, whole = tries.CONFIGURATIONS[name], tmp_path / "whole"
    tries.trained(*arguments, f"run_dir={whole}")  # compiles
    took = tries.trained(*arguments, f"run_dir={tmp_path / 'again'}")
    number = -(-tries.count(8) // 2)
    draws = tries.draws(name)
    lost, slowest, counts = [], 0.0, Counter()
    for at in range(number):
        seconds = PYTHON + (at + draws.random()) / number * (took - PYTHON)
        sent = (signal.SIGINT, signal.SIGTERM)[at % 2]
        run_dir = tmp_path / str(at)
        run = tries.start(*arguments, f"run_dir={run_dir}")
        time.sleep(seconds)
        over = run.poll() is not None or trained_to_the_end(run_dir)
        run.send_signal(sent)
        began = time.monotonic()
        code, said = tries.ended(run)
        slowest = max(slowest, time.monotonic() - began)
        counts["over before" if over else code] += 1
        print(f"{name}: {sent.name} after {seconds:.1f} s, over {over}: {code}")
        if code != 128 + sent and not (over and code == 0):
            lost.append((seconds, code, said))
        # What a callback lost is printed there, and made good for.
        assert "Traceback" not in said or "Exception ignored" in said, said
        if run_dir.exists() and at % 4 == 0:
            tries.trained(*tries.going_on(run_dir, arguments))
            assert name == "bridge" or tries.left(run_dir) == tries.left(whole)
        shutil.rmtree(run_dir, ignore_errors=True)
    print(f"{name}: statuses {dict(counts)}, slowest answer {slowest:.1f} s")
    assert not lost, lost
