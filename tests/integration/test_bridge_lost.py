"""Workers that are lost or stuck, and strangers in crowds: the others go on."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq
from bridge_support import (
    bridge,
    new_key,
    play,
    pool,
    remote,
    require_each_id_once,
    until,
)
from support import REPO

from rolemarl_jax.bridge import exhibit
from rolemarl_jax.bridge.pool import link
from rolemarl_jax.bridge.pool.pace import BEGINNING, ENOUGH, LAUNCHING, STEPPING, Pace

IDLE = 1100  # connections of somebody who says nothing


def worker(endpoint, key_file=None):
    """A worker as it is started by hand on another host."""
    command = [sys.executable, "-m", "rolemarl_jax.bridge.worker"]
    command += ["--connect", endpoint]
    command += ["--key-file", str(key_file)] if key_file else []
    return subprocess.Popen(command, cwd=REPO)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_remote_worker_that_is_gone_is_noticed_without_a_deadline(
    tmp_path, monkeypatch, capsys, number
):
    """Killed, its connection ends; frozen, or with its host, it is silent."""
    monkeypatch.setattr(link, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(link, "SILENCE_S", 1.0)
    key_file = new_key(tmp_path / "key")
    with remote(key_file) as made:
        other = worker(made._crew.link.endpoint, key_file)
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle", 30)
        made.prepare(1)
        other.send_signal(number)
        began = time.monotonic()
        until(lambda: made.poll(0.02) or made.slots[1].state == "down", 30)
        assert time.monotonic() - began < 10
        other.kill()
        other.wait()
        seen = play(made, 2)
    require_each_id_once(seen)
    assert "worker 1: its connection ended (process" in capsys.readouterr().err


def test_replays_of_other_hosts_come_over_the_net(tmp_path):
    key_file = new_key(tmp_path / "key")
    with remote(key_file) as made:
        other = worker(made._crew.link.endpoint, key_file)
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle", 30)
        play(made, 6)
        found = exhibit._replays(made, tmp_path / "replays")
    other.wait()
    assert found == [
        str(tmp_path / "replays" / f"worker-{i}" / "scripted.replay") for i in (0, 1)
    ]
    assert all("episode" in Path(path).read_text() for path in found)


def test_a_worker_whose_learner_is_gone_ends_by_itself():
    context = zmq.Context()
    learner = context.socket(zmq.ROUTER)
    port = learner.bind_to_random_port("tcp://127.0.0.1")
    other = worker(f"tcp://127.0.0.1:{port}")
    assert learner.poll(30_000), "it never joined"
    learner.close(linger=0)
    assert other.wait(timeout=10) == 0
    context.destroy(linger=0)


def test_a_reset_that_hangs_holds_up_nobody():
    with pool(workers=2) as made:
        play(made, 2)
        until(lambda: made.poll(0.02) or len(made.idle()) == 2)
        made.slots[1].opening = None
        stuck = made.slots[1].child.process.pid
        os.killpg(stuck, signal.SIGSTOP)
        began = time.monotonic()
        seen = play(made, 3)
        assert time.monotonic() - began < 10
    assert {one.worker for one in seen.done} == {0}
    assert seen.lost == []


def test_deadlines_fit_what_was_measured_and_never_exceed_what_is_configured():
    pace = Pace(bridge(step_deadline_s=180.0, reset_deadline_s=240.0))
    for _ in range(ENOUGH - 1):
        pace.took(STEPPING, 0.1)
    assert pace.allowed(STEPPING) == 180.0
    pace.took(STEPPING, 0.2)
    assert pace.allowed(STEPPING) == 10.0
    pace.took(STEPPING, 3.0)
    assert pace.allowed(STEPPING) == 30.0
    pace.took(STEPPING, 100.0)
    assert pace.allowed(STEPPING) == 180.0
    for _ in range(ENOUGH):
        pace.took(BEGINNING, 0.1)
    assert pace.allowed(BEGINNING) == 10.0
    pace.took(LAUNCHING, 20.0)  # which any request may have to repeat
    assert pace.allowed(BEGINNING) == 60.0
    assert pace.allowed(LAUNCHING) == 240.0


def test_a_request_that_takes_long_is_told_before_it_is_overdue(monkeypatch, capsys):
    monkeypatch.setattr("rolemarl_jax.bridge.pool.crew.LATE_S", 0.3)
    with pool(workers=1) as made:
        os.killpg(made.slots[0].child.process.pid, signal.SIGSTOP)
        made.prepare(0) if made.slots[0].opening is None else made.begin(0, 1)
        if made.slots[0].state == "idle":
            made.poll(0.0)
            made.step(0, [1, 2, 3])
        told = []
        until(lambda: made.poll(0.05) or told.append(capsys.readouterr().err) or
              "worker 0 has been making a step for 0.3 s; it may take 180 s"
              in "".join(told))  # fmt: skip


LEARNER = """
import resource, sys
sys.path.insert(0, "tests")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
from bridge_support import *
from pathlib import Path
if __name__ == "__main__":
    with remote(Path(sys.argv[1]), workers=1, remote=0) as made:
        print(made._crew.link.endpoint, flush=True)
        if sys.stdin.readline() == "stay\\n":
            refused = made._crew.link.refused
            until(lambda: made.poll(0.05) or len(os.listdir("/proc/self/fd")) > 1100)
            seen = play(made, 3)
            until(lambda: made.poll(0.05) or refused["no handshake"])
            print(len(seen.done), flush=True)
"""


@pytest.mark.parametrize(
    "they", [pytest.param("stay", marks=pytest.mark.slow), "leave"]
)
def test_a_crowd_that_only_connects_does_no_harm(tmp_path, they):
    """Neither by the descriptors it takes, nor by what is to be heard of its end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * IDLE:
        pytest.skip("the system allows no so many descriptors")
    learner = subprocess.Popen(
        [sys.executable, "-c", LEARNER, str(new_key(tmp_path / "key"))],
        cwd=REPO,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    crowd = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * IDLE), hard))
    try:
        port = int(learner.stdout.readline().rsplit(":", 1)[1])
        for _ in range(IDLE if they == "stay" else 3 * IDLE):
            crowd.append(socket.create_connection(("127.0.0.1", port)))
            if they == "leave":
                crowd.pop().close()
        out, _ = learner.communicate(f"{they}\n", timeout=60)
        assert out.split() == (["3"] if they == "stay" else [])
        assert learner.returncode == 0
    finally:
        learner.kill()
        learner.wait()
        for one in crowd:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
