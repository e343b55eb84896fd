"""How long it takes until a fault of a worker is named on the terminal.

pytest -m slow -s tests/integration/test_bridge_named.py    # the table of the docs
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
from bridge_support import new_key, play, pool, remote, until, world
from support import REPO

from rolemarl_jax.bridge.pool import complaints
from rolemarl_jax.bridge.pool.pool import PoolError
from rolemarl_jax.config import ConfigError

pytestmark = pytest.mark.slow
SOON_S = 10.0
IDLE = 1100  # connections of somebody who says nothing


class Terminal:
    """What was shown, and how long after the fault."""

    def __init__(self, fault, monkeypatch):
        self.fault, self.began = fault, None
        self.shown = []
        monkeypatch.setattr(complaints, "_print", self.show)

    def show(self, text):
        self.shown.append((time.monotonic() - (self.began or 0), text))

    def from_now(self):
        self.began = time.monotonic()

    def require(self, words):
        seconds = [after for after, text in self.shown if words in text]
        assert seconds, [text for _, text in self.shown]
        print(f"\n| {self.fault} | {seconds[0]:.1f} |")
        assert seconds[0] < SOON_S


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", "RuntimeError: the game's client crashed"),
        ("scale", "max_reward is 311"),
        ("hang", "launching its game and beginning an episode for 8 s"),
        ("exit at once", "exit status 1"),
    ],
)
def test_at_the_first_reset(fault, words, monkeypatch):
    terminal = Terminal(f"{fault}, at the first reset", monkeypatch)
    terminal.from_now()
    faults = [] if fault.startswith("exit") else [fault]
    faulty = world(faults=faults, reset_chance=1.0)
    changes = {"python": "/bin/false"} if fault.startswith("exit") else {}
    patience = {"reset_deadline_s": 9.0, "restarts_per_hour": 2}
    with pytest.raises(ConfigError), pool(faulty, **patience, **changes):
        pass
    terminal.require(words)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", "RuntimeError: the game's client crashed"),
        ("killed", "killed by signal SIGKILL"),
        ("nan", "reward nan"),
        ("shape", "arrays of"),
        ("hang", "making a step for 8 s"),
    ],
)
def test_at_a_step(fault, words, monkeypatch):
    terminal = Terminal(f"{fault}, at a step", monkeypatch)
    faulty = world(faults=[fault], fault_chance=1.0)
    patience = {"step_deadline_s": 9.0, "restarts_per_hour": 0}
    with pool(faulty, **patience) as made:
        terminal.from_now()
        with pytest.raises(PoolError):
            play(made, 1)
    terminal.require(words)


def test_a_scale_that_one_worker_alone_says(monkeypatch):
    """In a later episode, where only the others can tell."""
    terminal = Terminal("lying max_reward, in a later episode", monkeypatch)
    with pool(workers=3) as made:
        play(made, 3)
        terminal.from_now()
        lie = made._reception.agreed.scale

        def lied(slot):
            slot.scale += slot.index == 2
            return lie(slot)

        monkeypatch.setattr(made._reception.agreed, "scale", lied)
        play(made, 6)
    terminal.require("divides rewards by 311, others by 310")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_of_another_host(number, tmp_path, monkeypatch):
    terminal = Terminal(f"{number.name} from outside, another host", monkeypatch)
    key_file = new_key(tmp_path / "key")
    with remote(key_file) as made:
        command = [sys.executable, "-m", "rolemarl_jax.bridge.worker", "--connect"]
        command += [made._crew.link.endpoint, "--key-file", str(key_file)]
        other = subprocess.Popen(command, cwd=REPO)
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle", 30)
        other.send_signal(number)
        terminal.from_now()
        until(lambda: made.poll(0.02) or terminal.shown, 30)
        other.kill()
        other.wait()
    terminal.require("its connection ended")


def test_a_local_worker_killed_from_outside(monkeypatch):
    terminal = Terminal("SIGKILL from outside, this host", monkeypatch)
    with pool() as made:
        os.killpg(made.slots[0].child.process.pid, signal.SIGKILL)
        terminal.from_now()
        until(lambda: made.poll(0.02) or terminal.shown, 30)
    terminal.require("killed by signal SIGKILL")


def test_a_crowd(tmp_path, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    terminal = Terminal(f"{IDLE} idle connections", monkeypatch)
    with remote(new_key(tmp_path / "key"), workers=1, remote=0) as made:
        port = int(made._crew.link.endpoint.rsplit(":", 1)[1])
        terminal.from_now()
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * IDLE), hard))
        with contextlib.ExitStack() as crowd:
            for _ in range(IDLE):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
            play(made, 2)
            until(lambda: made.poll(0.02) or terminal.shown, 30)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    terminal.require("somebody was refused: no handshake")
