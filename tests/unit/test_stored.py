"""Learners of a stored run come back, and are judged as they were while it ran."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from rolemarl_jax import members
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


def test_every_member_plays_the_same_episodes(run):
    cfg, learner, states = run
    found = stored.evaluate(cfg, ENV, learner, 6)
    assert (found.step, found.ret.shape, found.won.shape) == (128, (4, 6), (4, 6))
    game = replace(cfg.eval, episodes=6, worlds=6)
    one = jax.tree.map(lambda x: x[2], states)
    played = jax.jit(make_evaluate(game, ENV, learner))(one)
    np.testing.assert_array_equal(found.ret[2], played.ret)
    np.testing.assert_array_equal(found.length[2], played.length)
