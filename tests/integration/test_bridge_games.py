"""Real simulators behind the bridge, where they are installed."""

import os
import sys
import types

import numpy as np
import pytest
from bridge_support import play, pool, section

from rolemarl_jax.bridge.worker.games import SetupError, grf, gymma, scripted
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.types import Remote


def settings(name, **changes):
    import importlib

    module = importlib.import_module(f"envs.bridged.{name}")
    values = {**section(f"env/{name}.yaml"), **changes}
    values.pop("defaults")
    return module.make(build(module.Config, values, "env"))


RWARE = {
    "id": "rware-tiny-2ag-v2",
    "imports": ["rware"],
    "limit_attribute": "max_steps",
    "time_limit": 30,
}


@pytest.mark.parametrize("changes", [{"time_limit": 25}, RWARE])
def test_gymnasium_worlds_end_by_themselves_or_are_truncated(changes):
    pytest.importorskip(changes.get("imports", ["lbforaging"])[0])
    world = settings("gymma", **changes)

    def random(obs):
        return np.random.default_rng(0).integers(0, 5, obs.shape[:2])

    with pool(world, workers=2) as made:
        seen = play(made, 4, random)
        spec = made.spec
    for one in seen.done:
        assert one.length <= spec.episode_limit == changes["time_limit"]
        assert one.terminated == (one.length < spec.episode_limit)
        np.testing.assert_array_equal(one.state, one.obs.reshape(one.length + 1, -1))
    first = {one.worker: one.obs[0] for one in reversed(seen.done)}
    if len(first) == 2:
        assert not np.array_equal(first[0], first[1]), "workers share a seed"


def test_foraging_that_succeeds_at_the_last_step_terminates():
    """The package's own limit would have called every end the same."""
    pytest.importorskip("lbforaging")
    game = gymma.make(settings("gymma", time_limit=2).settings, 1)
    game.reset()
    env = game.step.__self__._core
    env.field[:] = 0
    assert game.step([0, 0]).terminated
    game.reset()
    game.step([0, 0])
    end = game.step([0, 0])
    assert (end.terminated, end.truncated) == (False, True)


class Odd:
    """Agents with different sizes."""

    observation_space = (
        types.SimpleNamespace(shape=(2,)),
        types.SimpleNamespace(shape=(3,)),
    )
    action_space = (types.SimpleNamespace(n=4), types.SimpleNamespace(n=2))

    @property
    def unwrapped(self):
        return self

    def reset(self, seed=None):
        return ([1.0, 2.0], [3.0, 4.0, 5.0]), {}

    def step(self, actions):
        return ([1.0, 2.0], [3.0, 4.0, 5.0]), [1.0, 4.0], False, False, {}


def test_smaller_agents_are_padded_and_masked():
    world = gymma.Gymma(Odd(), 10, 0, "sum")
    seen = world.reset()
    assert world.shapes == (2, 4, 3, 6)
    np.testing.assert_array_equal(seen.obs, [[1, 2, 0], [3, 4, 5]])
    np.testing.assert_array_equal(seen.avail.sum(1), [4, 2])


def test_single_agent_spaces_are_refused():
    one = types.SimpleNamespace(shape=(3,), n=2)
    env = types.SimpleNamespace(unwrapped=None, observation_space=one, action_space=one)
    with pytest.raises(SetupError, match="entry an agent"):
        gymma.Gymma(env, 10, 0, "sum")


class Hasty(Odd):
    """Truncates after two steps."""

    steps = 0

    def step(self, actions):
        obs, reward, ended, _, info = super().step(actions)
        self.steps += 1
        return obs, reward, ended, self.steps == 2, info


def test_an_environment_that_truncates_before_the_time_limit_is_refused():
    """Learners keep one cut a time limit."""
    world = gymma.Gymma(Hasty(), 2, 0, "sum")
    world.reset()
    assert [world.step([0, 0]).truncated for _ in range(2)] == [False, True]
    world = gymma.Gymma(Hasty(), 10, 0, "sum")
    world.reset()
    world.step([0, 0])
    with pytest.raises(SetupError, match=r"got 10, .* after 2 steps; .*time_limit=2 "):
        world.step([0, 0])


@pytest.mark.parametrize(("team", "reward"), [("sum", 5.0), ("mean", 2.5)])
def test_the_team_gets_the_sum_or_the_mean(team, reward):
    world = gymma.Gymma(Odd(), 10, 0, team)
    world.reset()
    assert world.step([0, 0]).reward == reward


@pytest.fixture
def football(monkeypatch):
    """The package's interface: no axis of agents for a single player.

    Returns:
        ``games``: the engine's seed and the order of teams of each game that began.
    """
    made = {"games": []}

    def create_environment(**arguments):
        n = arguments["number_of_left_players_agent_controls"]
        config = dict(arguments["other_config_options"])
        obs = np.zeros(115 if n == 1 else (n, 115))
        reward = 1.0 if n == 1 else np.ones(n)

        def reset():
            """The configuration keeps what it was given, and an order once set."""
            seed = config["game_engine_random_seed"]
            order = config.setdefault("reverse_team_processing", bool(seed % 2))
            made["games"].append((seed, order))
            return obs

        return types.SimpleNamespace(
            unwrapped=types.SimpleNamespace(_config=config),
            reset=reset,
            step=lambda actions: (obs, reward, False, {"score_reward": 1}),
            close=lambda: None,
        )

    package = types.ModuleType("gfootball")
    package.env = types.ModuleType("gfootball.env")
    package.env.create_environment = create_environment
    monkeypatch.setitem(sys.modules, "gfootball", package)
    monkeypatch.setitem(sys.modules, "gfootball.env", package.env)
    return made


@pytest.mark.parametrize(
    ("name", "agents"),
    [
        ("academy_3_vs_1_with_keeper", 3),
        ("academy_counterattack_hard", 4),
        ("academy_run_to_score_with_keeper", 1),
    ],
)
def test_football(football, name, agents):
    game = grf.make(settings("grf", map=name, time_limit=2).settings, 5)
    assert game.reset().obs.shape == (agents, 115)
    first, last = (game.step([0] * agents) for _ in range(2))
    assert (first.reward, first.won, first.truncated) == (1.0, True, False)
    assert last.truncated
    assert last.seen.state.shape == (agents * 115,)


def test_every_game_of_football_is_another(football):
    def games(seed):
        game = grf.make(settings("grf").settings, seed)
        football["games"].clear()
        for _ in range(8):
            game.reset()
        return list(football["games"])

    played = games(5)
    assert len({seed for seed, _ in played}) == 8
    assert {order for _, order in played} == {False, True}
    assert all(order == bool(seed % 2) for seed, order in played)
    assert games(5) == played
    assert games(6) != played


def test_a_time_limit_that_football_forestalls():
    assert settings("grf", time_limit=399).settings["time_limit"] == 399
    with pytest.raises(ConfigError, match=r"time_limit: got 400; allowed: 1 to 399"):
        settings("grf", time_limit=400)


def test_football_that_is_not_installed():
    if "gfootball" in sys.modules:
        pytest.skip("it is")
    with pytest.raises(SetupError, match="built from source"):
        grf.make(settings("grf").settings, 0)


@pytest.mark.parametrize(
    "changes", [{}, {"goal": 25}, {"n_agents": 1, "goal": 5}, {"episode_limit": 7}]
)
def test_right_choices_alone_return_what_the_scripted_world_says(changes):
    game = scripted.make(settings("scripted", **changes).settings, 1)

    def returned():
        seen, total = game.reset(), 0.0
        while True:
            one = game.step(seen.obs[:, 4:8].argmax(-1).tolist())
            seen, total = one.seen, total + one.reward
            if one.terminated or one.truncated:
                return total

    # Goals of episodes differ by one at most.
    best = max(returned() for _ in range(8))
    assert best == pytest.approx(game.max_return)


GAMES = [("smac", {"map": "3m"}), ("smac", {"map": "2s3z"}), ("smacv2", {})]


@pytest.mark.starcraft
@pytest.mark.parametrize(("name", "changes"), GAMES)
def test_starcraft(name, changes):
    """Needs SC2PATH, and ROLEMARL_SC2_PYTHON where the packages live elsewhere."""
    world = settings(name, **changes)
    assert isinstance(world, Remote)
    python = os.environ.get("ROLEMARL_SC2_PYTHON")
    g = np.random.default_rng(0)
    with pool(world, workers=2, python=python) as made:
        latest = {}

        def random(obs):
            avail = latest["collector"]._seen.avail
            return (g.random(avail.shape) * avail).argmax(-1)

        seen = play(made, 4, random, latest)
        infos = [slot.info for slot in made.slots]
    assert all(one["game_version"] and one["max_reward"] > 200 for one in infos)
    for one in seen.done:
        assert one.terminated or one.length == made.spec.episode_limit
        dead = one.avail[..., 0]
        np.testing.assert_array_equal(one.avail.sum(-1)[dead], 1)
        assert not one.obs[dead].any()
