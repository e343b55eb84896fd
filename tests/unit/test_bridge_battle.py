"""The traps of SMAC's interface, on a stand-in that has them."""

from types import SimpleNamespace

import numpy as np
import pytest

from rolemarl_jax.bridge.worker.games import battle


class Smac:
    """SMAC's bookkeeping, followed by the letter; ``script`` has one entry a step."""

    built = 0
    n_enemies, n_agents, episode_limit = 2, 2, 5
    reward_death_value, reward_win = 10, 200

    def __init__(self, script):
        Smac.built += 1
        self.script = script
        self.max_reward = 220.0
        self._episode_count = self._steps = self.timeouts = self.force_restarts = 0
        self.enemies, self.looks, self.closed = {}, 0, False

    def get_env_info(self):
        return {
            "n_agents": 2,
            "n_actions": 3,
            "obs_shape": 2,
            "state_shape": 1,
            "episode_limit": 5,
        }

    def reset(self):
        self.enemies = {
            i: SimpleNamespace(health_max=45.0, shield_max=0.0) for i in range(2)
        }
        if self._episode_count == 0:
            self.max_reward += 90.0
        self._steps = 0
        if self.script[:1] == ["lost at reset"]:
            self.script.pop(0)
            self.force_restarts += 1

    def step(self, actions):
        what = self.script.pop(0)
        if what == "lost":
            self.force_restarts += 1
            return 0, True, {}
        self._steps += 1
        won, timed = what == "win", what == "time"
        self.timeouts += timed
        ended = what in ("win", "time", "defeat")
        self._episode_count += ended
        return 1.5, ended, {"battle_won": won}

    def get_obs(self):
        self.looks += 1
        return [np.full(2, self.looks)] * 2

    def get_state(self):
        return np.zeros(1)

    def get_avail_actions(self):
        return [[1, 0, 1]] * 2

    def close(self):
        self.closed = True


def start(*script):
    Smac.built = 0
    script = list(script)
    made = battle.Battle(lambda _: Smac(script))
    made.reset()
    return made


def test_a_time_limit_truncates_and_does_not_terminate():
    made = start("go", "time")
    assert not made.step([0, 0]).truncated
    end = made.step([0, 0])
    assert (end.truncated, end.terminated, end.aborted) == (True, False, False)


@pytest.mark.parametrize(("what", "won"), [("win", True), ("defeat", False)])
def test_a_battle_that_ends_terminates(what, won):
    end = start(what).step([0, 0])
    assert (end.truncated, end.terminated, end.aborted) == (False, True, False)
    assert end.won is won


def test_a_lost_game_is_no_end():
    end = start("lost").step([0, 0])
    assert end.aborted


def test_first_episode_lost_means_a_new_object_with_the_right_scale():
    made = start("lost", "win", "lost", "win")
    assert made.step([0, 0]).aborted
    first = made.env
    made.reset()
    assert Smac.built == 2
    assert first.closed
    assert made.scale() == 310.0
    made.step([0, 0])
    made.reset()
    assert made.step([0, 0]).aborted  # in a later episode the object is kept
    made.reset()
    assert Smac.built == 2
    assert made.restarts == 2


def test_a_scale_that_counts_enemies_twice_is_noticed():
    made = battle.Battle(lambda _: Smac([]))
    made.env.max_reward = 355.0
    with pytest.raises(battle.ScaleError, match="445"):
        made.reset()


def test_a_game_lost_at_reset_begins_again():
    made = start("lost at reset", "win", "lost at reset", "win")
    assert (Smac.built, made.restarts) == (2, 1)  # in a first episode: a new object
    assert made.scale() == 310.0
    made.step([0, 0])
    made.reset()
    assert (Smac.built, made.restarts) == (2, 2)
    assert made.step([0, 0]).won


def test_a_game_lost_at_every_reset_is_given_up():
    with pytest.raises(RuntimeError, match="3 resets in a row"):
        start(*["lost at reset"] * 3)


def test_one_look_a_step():
    made = start("go", "go")
    assert made.env.looks == 1
    seen = made.step([0, 0]).seen
    assert made.env.looks == 2
    np.testing.assert_array_equal(seen.obs, np.full((2, 2), 2.0))
    assert seen.avail.dtype == bool
