"""Learners of a stored run come back, and are judged as they were while it ran."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from rolemarl_jax import members, rng
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint
from rolemarl_jax.experience.evaluate import make_evaluate
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.run import stored

ENV = worlds.probe(worlds.KINDS.index("match"))


@pytest.fixture
def run(tmp_path):
    """Two seeds with two rates, and what their last checkpoint holds."""
    algo = small_algo("iql")
    cfg = run_config(algo, 2, {"run_dir": str(tmp_path), "seed": 3})
    cfg = replace(cfg, sweep=replace(cfg.sweep, hypers={"lr": (1e-3, 1e-2)}))
    learner = make_learner(algo, ENV.spec)
    given = members.arrays(cfg, members.count(cfg))
    states = jax.vmap(partial(initial_learner, learner))(*given)
    for step, shown in ((64, jax.tree.map(lambda x: x + 1, states)), (128, states)):
        parts = {"learner": shown, "replay": np.zeros(3)}
        checkpoint.save(tmp_path / "checkpoints", step, parts, {"iterations": 1}, 2)
    return cfg, learner, states


def test_members_come_back_in_their_order(run):
    cfg, learner, states = run
    found = stored.load_states(cfg, learner)
    assert (found.step, found.note, list(found.state)) == (128, "", ["learner"])
    jax.tree.map(np.testing.assert_array_equal, found.state["learner"], states)
    rates = found.state["learner"].hypers["lr"]
    np.testing.assert_array_equal(rates, np.float32([1e-3, 1e-2, 1e-3, 1e-2]))
    older = stored.load_states(cfg, learner, 64).state["learner"].hypers["lr"]
    np.testing.assert_array_equal(older, rates + 1)
    for wrong in (replace(cfg, run_dir="nowhere"), cfg):
        with pytest.raises(ConfigError, match="no checkpoint"):
            stored.load_states(wrong, learner, 7)
    assert not Path("nowhere").exists()


def test_members_play_episodes_of_their_seed_and_not_those_of_training(run):
    cfg, learner, states = run
    found = stored.evaluate(cfg, ENV, learner, stored.Games(6, seed=1))
    assert (found.step, found.ret.shape, found.won.shape) == (128, (4, 6), (4, 6))
    again = stored.evaluate(cfg, ENV, learner, stored.Games(6, seed=1))
    np.testing.assert_array_equal(found.ret, again.ret)
    game = replace(cfg.eval, episodes=6, worlds=6)
    one = jax.tree.map(lambda x: x[2], states)
    play = jax.jit(make_evaluate(game, ENV, learner))
    key = rng.named(rng.named(rng.root(1), "evaluation"), "seed", 4)
    np.testing.assert_array_equal(found.ret[2], play(one, key).ret)
    assert not np.array_equal(found.ret[2], play(one).ret)
    other = stored.evaluate(cfg, ENV, learner, stored.Games(6, seed=2))
    assert not np.array_equal(found.ret, other.ret)


def test_what_acts_by_values_is_not_sampled(run):
    cfg, learner, _ = run
    with pytest.raises(
        ConfigError, match="policy: got 'sampled', but algo=iql acts by"
    ):
        stored.evaluate(cfg, ENV, learner, stored.Games(6, seed=1, sampled=True))


def test_a_policy_is_sampled(run):
    cfg, _, states = run
    certain = make_learner(small_algo("ippo"), ENV.spec)
    assert certain.samples and not make_learner(small_algo("iql"), ENV.spec).samples

    def act(state, agents, observation, epsilon, key):
        drawn = jax.random.randint(key, agents.last_action.shape, 0, 2)
        return drawn + 0 * epsilon.astype(int), agents.carry

    game = replace(cfg.eval, episodes=64, worlds=64)
    one, learner = jax.tree.map(lambda x: x[0], states), replace(run[1], act=act)
    play = make_evaluate(game, ENV, learner, sampled=True)
    mean = float(jax.jit(play)(one, jax.random.key(0)).ret.mean())
    greedy = float(jax.jit(make_evaluate(game, ENV, learner))(one).ret.mean())
    assert mean != greedy
