"""Hours of training: memory, compilations, descriptors and processes do not grow.

ROLEMARL_MINUTES=120 python -m pytest -m slow -s tests/reliability/test_soak.py
"""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import tries
from support import ALGOS

from rolemarl_jax.disk import rundir

pytestmark = pytest.mark.slow
ENDLESS = (
    *("run=debug", "seeds=1", "total_steps=4e6"),
    *("log_every=400", "eval.every=400", "checkpoint.every=800"),
)
REMOTE = (*ENDLESS, "env=scripted", "bridge.workers=2")
BLOCKS = ("train.worlds=2", "algo.minibatch=2", "train.steps_per_update=64")
ON_POLICY = ("ippo", "mappo", "acorm_mappo", "eoi_ippo")


def sized(name):
    """Algorithm and how much of its experience is kept: a replay that is soon full."""
    fresh = name in ON_POLICY or name.startswith("pqn_")
    # Battles are longer than 60 steps, which episodes are reckoned with.
    episodes = 32 if name.endswith("unit_type") else 16
    return f"algo={name}", *(BLOCKS if fresh else (f"replay.episodes={episodes}",))


def world(name):
    """A cheap one; roles that are types of units need a battle."""
    return "env=smax" if name.endswith("unit_type") else "env=pac_men"


RUNS = {name: (*ENDLESS, world(name), *sized(name)) for name in ALGOS}
RUNS |= {
    f"bridge {name}": (*REMOTE, *sized(name)) for name in ("qmix", "acorm", "mappo")
}
WARM = 4  # evaluations of a leg before it is looked at: buffers are full, all compiled
GROWTH = 0.05  # of resident memory, between the halves of a leg


def seconds():
    """Time that a leg is looked at: two for each run."""
    return 60 * float(os.environ.get("ROLEMARL_MINUTES", 4)) / len(RUNS) / 2


def seen(pid, said):
    """Resident bytes, compilations so far, open descriptors and child processes."""
    of = Path(f"/proc/{pid}")
    status = (of / "status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) * 1024
    compiled = said.read_text(errors="replace").count("Finished XLA compilation of")
    children = (of / "task" / str(pid) / "children").read_text().split()
    return resident, compiled, opened(of / "fd"), len(children)


def opened(folder):
    """Descriptors but those of fonts, which matplotlib opens for its first picture."""
    count = 0
    for each in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            count += each.readlink().suffix != ".ttf"
    return count


def evaluations(run_dir):
    path = run_dir / rundir.METRICS
    return path.read_text().count('"split": "test"') if path.exists() else 0


def leg(arguments, run_dir, said):
    """Trains for a while, is looked at, and stopped; all that was seen."""
    before = evaluations(run_dir)
    with said.open("w") as out:
        run = tries.start(*arguments, changes={"JAX_LOG_COMPILES": "1"}, stdout=out)
        deadline = time.monotonic() + tries.PATIENCE
        while evaluations(run_dir) < before + WARM:
            assert run.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        looks, end = [], time.monotonic() + seconds()
        while time.monotonic() < end or evaluations(run_dir) < before + 2 * WARM:
            looks.append(seen(run.pid, said))
            assert run.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
        assert run.wait(tries.PATIENCE) == 143, said.read_text()
    return looks


@pytest.mark.parametrize("name", RUNS)
def test_soak(name, tmp_path):
    run_dir, said = tmp_path / "run", tmp_path / "said"
    for number in range(2):
        looks = leg(tries.going_on(run_dir, RUNS[name]), run_dir, said)
        resident, compiled, files, processes = zip(*looks, strict=True)
        half = len(looks) // 2
        grown = max(resident[half:]) / max(resident[:half]) - 1
        told = (
            f"{name}, leg {number}: {max(resident) / 2**20:.0f} MiB ({grown:+.1%}), "
            f"{compiled[-1]} compilations (+{compiled[-1] - compiled[0]}), "
            f"{min(files)} to {max(files)} descriptors "
            f"({min(files[half:]) - min(files[:half]):+d}), "
            f"{max(processes)} processes ({processes[-1] - processes[0]:+d}), "
            f"{evaluations(run_dir)} evaluations"
        )
        print(told)
        assert grown <= GROWTH, told
        assert compiled[-1] == compiled[0] > 0, told
        # Saving opens some for a moment: what is never closed raises the fewest.
        assert min(files[half:]) <= min(files[:half]), told
        assert max(processes[half:]) <= max(processes[:half]), told
    shutil.rmtree(run_dir)
