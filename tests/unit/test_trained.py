"""Parameters that come with the project: what they are of, and that they still play."""

import jax
import numpy as np
import pytest
from support import REPO

import envs
from experiments import evaluate
from rolemarl_jax.disk import rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.report import summary
from rolemarl_jax.run import stored

TRAINED = sorted(
    path for path in (REPO / "examples/trained").iterdir() if path.is_dir()
)
EPISODES = 128


@pytest.mark.parametrize("folder", TRAINED, ids=lambda path: path.name)
def test_they_load(folder):
    cfg, told = rundir.load_config(folder), summary.read(folder)
    assert told is not None and told.commit
    assert f"{told.algo}-{told.map}" == folder.name
    learner = make_learner(cfg.algo, envs.make_compiled(cfg.env).spec)
    state = stored.load_states(cfg, learner).state["learner"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
@pytest.mark.parametrize("folder", TRAINED, ids=lambda path: path.name)
def test_they_win_as_often_as_told(folder):
    """Two samples of so many episodes differ by four standard errors at most."""
    cfg = rundir.load_config(folder)
    result, _ = evaluate.play(cfg, stored.Games(EPISODES, seed=1), None)
    summed = summary.read(folder)
    assert summed is not None
    told = summed.final["win_rate"].value
    error = np.sqrt(2 * max(told * (1 - told), 1 / EPISODES) / EPISODES)
    assert abs(float(np.mean(result.won)) - told) < 4 * error
