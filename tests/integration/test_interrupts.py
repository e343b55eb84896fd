"""Ctrl-C while a long part of a run is being computed."""

import os
import signal
import subprocess
import sys
import time

from support import REPO

LONG = 10**9  # env steps: days
COMMAND = (
    *(sys.executable, "-m", "experiments.run", "algo=iql", "env.map=3m", "run=debug"),
    *("seeds=1", f"total_steps={LONG}", f"log_every={LONG}", f"eval.every={LONG}"),
    f"checkpoint.every={LONG}",
)


def test_it_is_answered_at_once_and_obeyed_the_second_time(tmp_path):
    flags = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*COMMAND, f"run_dir={tmp_path / 'run'}"],
        cwd=REPO,
        env=flags,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        try:
            told(run, "warmup")  # a short leg is over, a long one begins
            run.send_signal(signal.SIGINT)
            told(run, "once more stops at once")
            run.send_signal(signal.SIGINT)
            began = time.monotonic()
            assert run.wait(timeout=60) == 130
            assert time.monotonic() - began < 20
        finally:
            run.kill()


def told(run, text):
    """Reads on until a line has the text."""
    seen = []
    for line in run.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"never said {text!r}:\n{''.join(seen)}")
