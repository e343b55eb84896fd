"""Small runs as processes of their own, and what they have to leave behind.

How many tries a table has is chosen by ``ROLEMARL_TRIES``, and which ones by
``ROLEMARL_DRAW``, the seed of the random times.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from support import REPO

from rolemarl_jax.disk import rundir
from rolemarl_jax.report import lines, summary

SIZE = (
    *("run=debug", "seeds=1", "total_steps=1600", "log_every=200", "eval.every=400"),
    "checkpoint.every=400",
)
GRID = (*SIZE, "env=pac_men")
BRIDGE = (*SIZE, "env=scripted", "bridge.workers=2")
BLOCKS = ("train.worlds=2", "algo.minibatch=2", "train.steps_per_update=64")
CONFIGURATIONS = {
    "qmix": (*GRID, "algo=qmix"),
    "mappo": (*GRID, "algo=mappo"),
    "acorm": (*GRID, "algo=acorm"),
    "maac": (*GRID, "algo=maac"),
    "chunks": (*GRID, "algo=iql", "seeds=4", "sweep.chunk=2"),
    "hypers": (*GRID, "algo=iql", "sweep.hypers.lr=[1e-3,5e-4]"),
    "bridge": (*BRIDGE, "algo=iql"),
    "bridge_mappo": (*BRIDGE, "algo=mappo", *BLOCKS),
}
PATIENCE = 600.0  # seconds that one run may take on a busy machine


def count(default):
    """Tries of a table."""
    return int(os.environ.get("ROLEMARL_TRIES", default))


def draws(name):
    """Random numbers of a table."""
    return random.Random(f"{name} {os.environ.get('ROLEMARL_DRAW', 0)}")


def start(*arguments, changes=None, stdout=subprocess.PIPE):
    """``experiments.run`` in a group of its own."""
    changes = {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1", **(changes or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", *arguments],
        cwd=REPO,
        env={**os.environ, **changes},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def ended(run):
    """Exit status and output of a run, once it has ended by itself."""
    try:
        said, _ = run.communicate(timeout=PATIENCE)
    finally:
        run.kill()
    return run.returncode, said


def trained(*arguments):
    """Trains to the end; seconds that this took."""
    began = time.monotonic()
    code, said = ended(start(*arguments))
    assert code == 0, said
    return time.monotonic() - began


def going_on(run_dir, arguments):
    """Command line that takes up a run, or begins it where nothing was written."""
    if (Path(run_dir) / rundir.CONFIG).exists():
        return f"run_dir={run_dir}", "resume=true"
    return *arguments, f"run_dir={run_dir}"


def killed_after(seconds, *arguments):
    """Starts a run and kills it; whether it was alive, and its workers are gone."""
    run = start(*arguments)
    try:
        run.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.send_signal(signal.SIGKILL)
        return True
    finally:
        run.kill()
        run.communicate()
        for child in locals().get("children", []):
            wait_until_gone(int(child))


def wait_until_gone(pid, seconds=60.0):
    """Workers end by themselves once they have lost their learner."""
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, f"process {pid} outlives its learner"
        time.sleep(0.1)


def left(run_dir):
    """What has to be the same however often a run was killed: digests and rows."""
    found = {}
    for folder in rundir.folders(run_dir):
        newest = max((folder / rundir.CHECKPOINTS).iterdir(), key=lambda x: int(x.name))
        record = json.loads((newest / "meta" / "metadata").read_text())
        parts = {name: one for name, one in record["digests"].items() if name}
        found[folder.name if folder != Path(run_dir) else ""] = (newest.name, parts)
    return found, rows(run_dir)


def rows(run_dir):
    """All rows, without the clock."""
    found = lines.read(Path(run_dir) / rundir.METRICS)
    plain = [{k: v for k, v in row.items() if k != "wall_s"} for row in found]
    return [json.dumps(row, sort_keys=True) for row in plain]


def require_whole(run_dir, total=1600):
    """A finished run whose rows go on without a repeat."""
    found = summary.read(Path(run_dir))
    assert found is not None and found.env_steps >= total
    last = {}
    for row in lines.read(Path(run_dir) / rundir.METRICS):
        member = tuple((k, v) for k, v in row.items() if k.startswith("hyper/"))
        at = (row["seed"], row["split"], member)
        assert row["env_steps"] > last.get(at, -1), f"{at} twice at {row['env_steps']}"
        last[at] = row["env_steps"]
    assert min(last.values()) >= total, last
