"""Who may speak to a learner: workers of other hosts, and whoever else knocks."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest
from bridge_support import (
    SHAPES,
    Impostor,
    bridge,
    gone,
    new_key,
    play,
    pool,
    remote,
    require_each_id_once,
    until,
)
from support import REPO

from rolemarl_jax.bridge.config import check_bridge
from rolemarl_jax.bridge.worker import protocol as p
from rolemarl_jax.bridge.worker.worker import token
from rolemarl_jax.config import ConfigError


def test_strangers_are_counted_and_not_heard():
    with pool(workers=1) as made:
        stranger = Impostor(made._crew.link.endpoint, token=b"x" * 16)
        stranger.say(p.JOIN)
        stranger.socket.send_multipart([b"GET / HTTP/1.1"])
        until(lambda: made.poll(0.02) or sum(made._crew.link.refused.values()) == 2)
        assert dict(made._crew.link.refused) == {
            "wrong key": 1,
            "no message of ours": 1,
        }
        seen = play(made, 2)
        stranger.close()
    require_each_id_once(seen)


@pytest.fixture
def key_file(tmp_path):
    return new_key(tmp_path / "key")


def hello(other, **changes):
    said = {
        **SHAPES._asdict(),
        "episode_limit": 20,
        "same_scale": True,
        "max_return": 20.0,
        "flags": {"obs": [4, 5, 6, 7], "state": []},
        "jax": False,
        "host": "elsewhere",
        "pid": 1,
        "python": "3",
    }
    head, _ = other.hear()
    assert head.kind == p.SETUP
    text = p.text_frame({**said, **changes})
    other.say(p.HELLO, text, slot=head.slot, generation=head.generation)
    return head


def bytes_of_seen():
    n, a, o, s = SHAPES
    seen = p.Seen(np.zeros((n, o)), np.zeros(s), np.ones((n, a)))
    return p.seen_frames(seen)


def test_a_worker_of_another_shape_stops_the_run(key_file):
    with remote(key_file) as made:
        other = Impostor(made._crew.link.endpoint, token(key_file), key_file)
        other.say(p.JOIN, p.text_frame({}))
        talk = threading.Thread(target=hello, args=(other,), kwargs={"obs_dim": 9})
        talk.start()
        with pytest.raises(ConfigError, match="same packages"):
            until(lambda: made.poll(0.05) and False)
        talk.join()
        other.close()


@pytest.mark.parametrize(
    ("frames", "fields"),
    [
        ((b"1", b"2", b"3"), {}),
        (bytes_of_seen(), {"reward": float("nan")}),
        (bytes_of_seen(), {"scale": float("inf")}),
    ],
)
def test_nonsense_costs_the_worker_its_place(key_file, frames, fields):
    with remote(key_file) as made:
        other = Impostor(made._crew.link.endpoint, token(key_file), key_file)
        other.say(p.JOIN, p.text_frame({}))
        talk = threading.Thread(target=hello, args=(other,))
        talk.start()
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle")
        talk.join()
        made.prepare(1)
        head, _ = other.hear()
        assert head.kind == p.RESET
        place = {"slot": 1, "generation": head.generation}
        other.say(p.SEEN, *bytes_of_seen(), **place)
        until(lambda: made.poll(0.02) or made.slots[1].opening)
        made.begin(1, 77)
        made.poll(0.0)
        made.step(1, np.zeros(3))
        assert other.hear()[0].kind == p.STEP
        other.say(p.SEEN, *frames, episode=77, step=1, **place, **fields)
        answers = []
        until(lambda: answers.extend(made.poll(0.02)) or answers)
        (answer,) = answers
        assert (answer.slot, answer.episode, answer.seen) == (1, 77, None)
        assert made.slots[1].state == "down"
        assert "spoke nonsense" in made.slots[1].reasons[-1]
        other.close()


@pytest.mark.parametrize("other_key", [False, True])
def test_without_the_key_nobody_is_heard(key_file, tmp_path, other_key):
    """Without any key, who gives up first decides what the other side calls it."""
    theirs = new_key(tmp_path / "other") if other_key else None
    reasons = {"wrong key"} if other_key else {"wrong key", "no handshake"}
    with remote(key_file) as made:
        link = made._crew.link
        with closing(Impostor(link.endpoint, token(key_file), theirs)) as stranger:
            stranger.say(p.JOIN, p.text_frame({}))
            until(lambda: made.poll(0.02) or link.refused, 30)
        assert set(link.refused) <= reasons
        assert made.slots[1].state == "down"
        assert "somebody was refused: " in made._crew.why()


def test_workers_join_from_elsewhere(key_file):
    with remote(key_file) as made:
        command = [sys.executable, "-m", "rolemarl_jax.bridge.worker"]
        command += ["--connect", made._crew.link.endpoint, "--key-file", str(key_file)]
        other = subprocess.Popen(command, cwd=REPO)
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle")
        seen = play(made, 6)
        assert {one.worker for one in seen.done} == {0, 1}
    other.wait(timeout=5)
    require_each_id_once(seen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"listen": "tcp://0.0.0.0:5555"}, "other hosts can reach"),
        ({"listen": "udp://127.0.0.1:1"}, "tcp://host:port"),
        ({"python": "no-such-python"}, r"bridge\.python"),
        ({"min_workers": 3}, "min_workers"),
        ({"remote": 1}, r"bridge\.listen"),
        ({"key_file": "/nonexistent"}, "key_file"),
    ],
)
def test_settings_that_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_bridge(bridge(**changes))


def test_a_host_replaces_its_workers_and_leaves_nothing(key_file):
    with remote(key_file, workers=2, remote=1) as made:
        command = [sys.executable, "-m", "rolemarl_jax.bridge.host", "--key-file"]
        command += [str(key_file), "--connect", made._crew.link.endpoint]
        host = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL)
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle", 20)
        first = made.slots[1].info["pid"]
        os.kill(first, signal.SIGKILL)
        until(lambda: made.poll(0.02) or made.slots[1].info["pid"] != first, 20)
        second = made.slots[1].info["pid"]
        host.terminate()
        host.wait(timeout=5)
        assert gone(second)
