"""Workers as real processes: every fault, and what must never follow from it."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from bridge_support import (
    SHAPES,
    Impostor,
    bridge,
    play,
    pool,
    world,
)
from support import REPO

from rolemarl_jax.bridge import protocol as p
from rolemarl_jax.bridge.config import check
from rolemarl_jax.bridge.pool import PoolError
from rolemarl_jax.config import ConfigError


def require_whole(episode, limit=20):
    """Every number of an episode of the scripted world, recomputed."""
    length, agents = episode.length, np.arange(3)
    assert len(episode.obs) == len(episode.state) == len(episode.avail) == length + 1
    resets = np.rint(100 * episode.obs[:, :, 1])
    assert len(np.unique(resets)) == 1, "parts of several episodes"
    assert len(np.unique(episode.obs[:, :, 3])) == 1, "parts of several processes"
    clock = np.rint(100 * episode.obs[:, 0, 2])
    np.testing.assert_array_equal(clock, np.arange(length + 1))
    wanted = (agents + resets + clock[:, None]) % 4
    np.testing.assert_array_equal(episode.obs[..., 4:8].argmax(-1), wanted)
    right = (episode.action == wanted[:-1]).sum(-1)
    bonus = np.where(np.arange(length) == length - 1, 200.0 * episode.won, 0.0)
    np.testing.assert_allclose(episode.reward, (10 * right + bonus) / 15.5, rtol=1e-6)
    assert np.take_along_axis(episode.avail[:-1], episode.action[..., None], 2).all()
    taken = np.eye(4)[episode.action].sum(1)
    np.testing.assert_array_equal(episode.state[1:, 2:], taken)
    assert episode.terminated == episode.won
    assert episode.terminated or length == limit, "cut short"


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie whose parent is not us is as good as gone.
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_whole_episodes_without_faults():
    with pool(world(step_ms=1.0, jitter=0.8), workers=3) as made:
        seen = play(made, 12)
        session = made._session
        pids = [slot.child.process.pid for slot in made.slots]
        assert made.totals["aborts"] == made.totals["restarts"] == 0
        assert len({slot.seeds[0] for slot in made.slots}) == 3
        assert all(slot.facts["max_reward"] == 310.0 for slot in made.slots)
    for one in seen.done:
        require_whole(one)
        assert one.won
    assert seen.lost == []
    assert sorted(one.id for one in seen.done) == seen.begun
    assert not session.exists()
    assert all(gone(pid) for pid in pids)


def test_a_time_limit_is_a_truncation():
    def wrong(obs):
        return (obs[..., 4:8].argmax(-1) + 2) % 4

    with pool(world(episode_limit=7), workers=1) as made:
        seen = play(made, 2, wrong)
    for one in seen.done:
        require_whole(one, 7)
        assert not one.terminated
        assert one.length == 7


@pytest.mark.parametrize("fault", ["crash", "killed", "error", "ended"])
def test_a_fault_costs_its_episode_and_nothing_else(fault):
    faulty = world(faults=[fault], fault_chance=0.04)
    with pool(faulty, workers=2, restarts_per_hour=1000) as made:
        seen = play(made, 12)
        assert made.totals["aborts"] == len(seen.lost)
        inside = fault in ("error", "ended")
        assert made.totals["game_restarts"] == (len(seen.lost) if inside else 0)
        assert made.totals["restarts"] == (0 if inside else len(seen.lost))
    require_each_id_once(seen)
    assert seen.lost


def require_each_id_once(seen):
    """Every episode that began was finished whole, once, or lost, once."""
    finished = [one.id for one in seen.done]
    assert sorted(finished + seen.lost) == seen.begun
    for one in seen.done:
        require_whole(one)


def test_a_storm_of_all_faults():
    faulty = world(
        faults=["crash", "killed", "error", "ended", "hang", "launch"],
        fault_chance=0.02,
        launch_chance=0.05,
        step_ms=1.0,
        jitter=0.5,
    )
    quick = {"restarts_per_hour": 1000, "step_deadline_s": 0.3}
    with pool(faulty, workers=2, **quick) as made:
        seen = play(made, 15)
        folders = list(made._session.glob("worker-*"))
        assert len(folders) <= 2, "folders of processes that ended"
    require_each_id_once(seen)


def test_a_hang_is_ended_from_outside():
    with pool(
        world(faults=["hang"], fault_chance=1.0),
        workers=1,
        step_deadline_s=0.3,
        restarts_per_hour=1,
    ) as made:
        began = time.monotonic()
        with pytest.raises(PoolError, match="no answer in time while busy"):
            play(made, 1)
        assert time.monotonic() - began < 8


def test_the_budget_ends_with_a_reason():
    with (
        pool(
            world(faults=["error"], fault_chance=1.0),
            workers=2,
            restarts_per_hour=2,
            min_workers=2,
        ) as made,
        pytest.raises(PoolError, match=r"1 of 2 .*min_workers=2.*mid-episode"),
    ):
        play(made, 1)


def test_one_worker_is_enough_to_go_on():
    with pool(workers=2, restarts_per_hour=0) as made:
        os.killpg(made.slots[0].child.process.pid, signal.SIGKILL)
        seen = play(made, 4)
        assert made.live == 1
        assert {one.worker for one in seen.done} == {1}
    require_each_id_once(seen)


def test_nothing_survives_a_learner_that_is_killed(tmp_path):
    code = (
        "import sys, time; sys.path.insert(0, 'tests')\n"
        "from bridge_support import *\n"
        "if __name__ == '__main__':\n"
        "    made = Pool(bridge(workers=2), world(), 0)\n"
        "    made.reset(0, 1)\n"
        "    pids = [slot.child.process.pid for slot in made.slots]\n"
        "    print(*pids, made._session, flush=True)\n"
        "    time.sleep(60)\n"
    )
    learner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, stdout=subprocess.PIPE, text=True
    )
    *pids, session = learner.stdout.readline().split()
    learner.kill()
    learner.wait()
    learner.stdout.close()
    until(lambda: all(gone(int(pid)) for pid in pids))
    until(lambda: not Path(session).exists())


def test_workers_never_import_jax_and_see_no_other_package():
    with pool(workers=1) as made:
        assert made._agreed.said["jax"] is False


def test_strangers_are_counted_and_not_heard():
    with pool(workers=1) as made:
        stranger = Impostor(made._link.endpoint, token=b"x" * 16)
        stranger.say(p.JOIN)
        stranger.socket.send_multipart([b"GET / HTTP/1.1"])
        until(lambda: made.poll(0.02) or sum(made._link.refused.values()) == 2)
        assert dict(made._link.refused) == {"wrong key": 1, "no message of ours": 1}
        seen = play(made, 2)
        stranger.close()
    require_each_id_once(seen)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    public, secret = zmq.curve_keypair()
    path.write_bytes(public + b"\n" + secret + b"\n")
    path.chmod(0o600)
    return path


def hello(other, **changes):
    said = {
        **SHAPES._asdict(),
        "episode_limit": 20,
        "same_scale": True,
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


def remote(key_file, **changes):
    listen = {"listen": "tcp://127.0.0.1:*", "key_file": str(key_file)}
    return pool(world(), **{"workers": 2, "remote": 1, **listen, **changes})


def test_a_worker_of_another_shape_stops_the_run(key_file):
    from rolemarl_jax.bridge.worker import token

    with remote(key_file) as made:
        other = Impostor(made._link.endpoint, token(key_file), key_file)
        other.say(p.JOIN, p.text_frame({}))
        talk = threading.Thread(target=hello, args=(other,), kwargs={"obs_dim": 9})
        talk.start()
        with pytest.raises(ConfigError, match="same packages"):
            until(lambda: made.poll(0.05) and False)
        talk.join()
        other.close()


def test_messages_of_wrong_length_cost_the_worker_its_place(key_file):
    from rolemarl_jax.bridge.worker import token

    with remote(key_file) as made:
        other = Impostor(made._link.endpoint, token(key_file), key_file)
        other.say(p.JOIN, p.text_frame({}))
        talk = threading.Thread(target=hello, args=(other,))
        talk.start()
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle")
        talk.join()
        made.reset(1, 77)
        head, _ = other.hear()
        assert head.kind == p.RESET
        other.say(
            p.SEEN, b"1", b"2", b"3", slot=1, generation=head.generation, episode=77
        )
        answers = []
        until(lambda: answers.extend(made.poll(0.02)) or answers)
        (answer,) = answers
        assert (answer.slot, answer.episode, answer.seen) == (1, 77, None)
        assert made.slots[1].state == "down"
        assert "spoke nonsense" in made.slots[1].reasons[-1]
        other.close()


def test_no_key_no_word(key_file, tmp_path):
    from rolemarl_jax.bridge.worker import token

    with remote(key_file) as made:
        plain = Impostor(made._link.endpoint, token(key_file))
        plain.say(p.JOIN, p.text_frame({}))
        for _ in range(10):
            made.poll(0.02)
        assert made.slots[1].state == "down"
        plain.close()


def test_workers_join_from_elsewhere(key_file):
    with remote(key_file) as made:
        command = [sys.executable, "-m", "rolemarl_jax.bridge.worker"]
        command += ["--connect", made._link.endpoint, "--key-file", str(key_file)]
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
        check(bridge(**changes))


def test_what_cannot_be_mended_is_told_at_once():
    with (
        pytest.raises(ConfigError, match="broken, as asked for"),
        pool(world(broken=True)),
    ):
        pass


def test_actions_that_are_not_available_are_an_error():
    def forbidden(obs):
        return (obs[..., 4:8].argmax(-1) + 1) % 4

    with (
        pool(workers=1) as made,
        pytest.raises(ConfigError, match="agent 0 cannot take action"),
    ):
        play(made, 1, forbidden)


def test_a_host_replaces_its_workers_and_leaves_nothing(key_file):
    with remote(key_file, workers=2, remote=1) as made:
        command = [sys.executable, "-m", "rolemarl_jax.bridge.host", "--key-file"]
        command += [str(key_file), "--connect", made._link.endpoint]
        host = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL)
        until(lambda: made.poll(0.02) or made.slots[1].state == "idle", 20)
        first = made.slots[1].facts["pid"]
        os.kill(first, signal.SIGKILL)
        made.reset(1, 1)
        made._cfg = dataclasses.replace(made._cfg, reset_deadline_s=0.2)
        made.slots[1].deadline = 0.0
        until(lambda: made.poll(0.02) or made.slots[1].facts["pid"] != first, 20)
        second = made.slots[1].facts["pid"]
        host.terminate()
        host.wait(timeout=5)
        assert gone(second)
