"""Workers as real processes: every fault, and what must never follow from it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bridge_support import (
    gone,
    play,
    pool,
    require_each_id_once,
    require_whole,
    until,
    world,
)
from support import REPO

from rolemarl_jax.bridge.pool.pool import PoolError
from rolemarl_jax.config import ConfigError


def test_whole_episodes_without_faults():
    with pool(world(step_ms=1.0, jitter=0.8), workers=3) as made:
        seen = play(made, 12)
        session = made._crew.session
        pids = [slot.child.process.pid for slot in made.slots]
        assert made.totals["aborts"] == made.totals["restarts"] == 0
        assert len({slot.seeds[0] for slot in made.slots}) == 3
        assert all(slot.info["max_reward"] == 310.0 for slot in made.slots)
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
        folders = list(made._crew.session.glob("worker-*"))
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
        with pytest.raises(
            PoolError, match=r"no answer within 0\.3 s while making a step"
        ):
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
        pytest.raises(PoolError, match=r"[01] of 2 .*min_workers=2.*mid-episode"),
    ):
        play(made, 1)


def test_one_worker_is_enough_to_go_on():
    with pool(workers=2, restarts_per_hour=0) as made:
        first = made.slots[0].child.process
        os.killpg(first.pid, signal.SIGKILL)
        # Dead before play begins, else the other one may finish all episodes first.
        first.wait(5)
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
        "    pids = [slot.child.process.pid for slot in made.slots]\n"
        "    print(*pids, made._crew.session, flush=True)\n"
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
        assert made._reception.agreed.said["jax"] is False


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
