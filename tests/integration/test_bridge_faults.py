"""What goes wrong with a worker is named at once, kept, and ends a hopeless run."""

import signal
import subprocess
import threading
import time

import pytest
from bridge_support import bridge, play, pool, world

from rolemarl_jax.bridge.pool.complaints import Complaints, alike
from rolemarl_jax.bridge.pool.pool import PoolError
from rolemarl_jax.bridge.pool.slots import Slot
from rolemarl_jax.bridge.worker.process import Child
from rolemarl_jax.config import ConfigError


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("crash", "RuntimeError: the game's client crashed"),
        ("killed", "killed by signal SIGKILL"),
        ("nan", "reward nan"),
        ("shape", "arrays of"),
        ("error", "lost in mid-episode"),
    ],
)
def test_a_world_that_fails_at_each_step_is_named_and_ends_the_run(
    fault, named, capsys
):
    with pool(world(faults=[fault], fault_chance=1.0), workers=1) as made:
        with pytest.raises(PoolError, match=f"every worker fails in the same.*{named}"):
            play(made, 1)
        assert not any(slot.state == "gone" for slot in made.slots)
    told = capsys.readouterr().err
    assert named in told
    assert told.count("worker 0: ") == 1, "shown once a kind"
    assert ("scripted.py" in told) == (fault == "crash")


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("crash", "RuntimeError: the game's client crashed"),
        ("scale", "max_reward is 311"),
        ("launch", "Failed to connect"),
    ],
)
def test_a_world_in_which_no_episode_begins_is_refused(fault, named, capsys):
    faulty = world(faults=[fault], reset_chance=1.0, launch_chance=1.0)
    with (
        pytest.raises(ConfigError, match=f"no worker can play.*{named}"),
        pool(faulty, workers=1),
    ):
        pass
    assert named in capsys.readouterr().err


def test_an_interpreter_that_exits_at_once_is_refused(capsys):
    with (
        pytest.raises(ConfigError, match=r"no worker can play.*exit status 1"),
        pool(python="/bin/false", workers=1),
    ):
        pass
    assert capsys.readouterr().err.count("exit status 1") == 1


def test_failures_are_kept_one_of_each_kind(tmp_path):
    told = []
    book, path = Complaints(told.append), tmp_path / "workers.log"
    book.keep(path)
    assert not path.exists(), "nothing has failed"
    book.heard(0, "ValueError: 3 units at 0x7f", "Traceback\n\x1b[2J")
    book.heard(1, "ValueError: 4 units at 0x80", "Traceback")
    book.heard(1, "KeyError: 'x'")
    assert told == ["worker 0: ValueError: 3 units at 0x7f\nTraceback\n?[2J",
                    "worker 1: KeyError: 'x'"]  # fmt: skip
    assert path.read_text().split("\n\n")[:2] == told
    assert book.counts["ValueError: # units at #"] == 2
    Complaints(told.append).keep(path)
    assert path.read_text().split("\n\n")[:2] == told, "appended, not replaced"


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 6, "40")]
)
def test_signals_are_told_by_name_if_they_have_one(tmp_path, number, name):
    process = subprocess.Popen(["sleep", "60"])
    process.send_signal(number)
    process.wait()
    assert Child(process, tmp_path).how() == f"killed by signal {name}"


def failed(*reasons, episodes=0, stepped=False):
    """A place whose processes failed one after the other."""
    slot = Slot(0, local=True, pause=0.0, generation=1)
    slot.episodes, slot.stepped = episodes, stepped
    for reason in reasons:
        slot.failed(reason, "", bridge())
    return slot


def test_a_run_is_given_up_only_where_all_fail_alike_and_nobody_has_finished():
    same = ["lost after 3 steps", "lost after 8 steps", "lost after 5 steps"]
    assert alike([failed(*same), failed(*same)]) == same[-1]
    assert alike([failed(*same), failed(*same[:2])]) == ""
    assert alike([failed(*same), failed(*same[:2], "another")]) == ""
    assert alike([failed(*same), failed(*same, episodes=1)]) == ""
    assert alike([failed(*same, stepped=True)]) == ""
    assert alike([failed(*same, *same, stepped=True)]) == same[-1]
    assert alike([failed(*same), Slot(1, local=False, pause=0.0)]) == same[-1]


def test_an_episode_that_began_with_the_run_is_played_by_whoever_asks_first():
    with pool(workers=1) as made:
        seen = play(made, 2)
    assert [one.obs[0, 0, 1] * 100 for one in seen.done] == pytest.approx([1, 2])
    assert made.totals["aborts"] == 0


def test_a_stop_ends_a_stretch_with_episodes_in_progress():
    asked = threading.Event()
    with pool(world(faults=["hang"], fault_chance=1.0), workers=2) as made:
        threading.Timer(0.3, asked.set).start()
        began = time.monotonic()
        seen = play(made, 4, stop=asked.is_set)
        assert time.monotonic() - began < 3
    assert seen.done == []
    assert sorted(seen.lost) == seen.begun
