"""Experiments that begin with the parameters of another run."""

from functools import partial

import jax
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from experiments import run
from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.run import warm

ENV = worlds.probe(worlds.KINDS.index("match"))
ALGO = small_algo("eoi")


def states(cfg, learner):
    ids, _ = members.arrays(cfg, members.count(cfg))
    return jax.jit(jax.vmap(partial(initial_learner, learner)))(ids)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of two seeds whose parameters were moved, and what it holds."""
    folder = tmp_path_factory.mktemp("source")
    cfg = run_config(ALGO, 2, {"run_dir": str(folder), "seed": 4})
    rundir.create(cfg)
    whole = states(cfg, make_learner(ALGO, ENV.spec))
    moved = whole._replace(
        params=jax.tree.map(lambda x: x + 1, whole.params),
        aux=jax.tree.map(lambda x: x + 2, whole.aux),
    )
    parts = {"learner": moved}
    checkpoint.save(folder / rundir.CHECKPOINTS, 64, parts, {"iterations": 1}, 1)
    return folder, moved


def same(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_each_seed_begins_with_the_parameters_of_its_own(source):
    folder, moved = source
    cfg = run_config(ALGO, 3, {"seed": 5, "init_from": str(folder)})
    learner = make_learner(ALGO, ENV.spec)
    fresh = states(cfg, learner)
    found = states(cfg, warm.begun(cfg, learner, ENV.spec))
    turns = np.array([1, 0, 1])  # of seeds 4 and 5, for seeds 5, 6 and 7
    wanted = jax.tree.map(lambda x: x[turns], moved)
    same(found.params, wanted.params)
    same(found.target, {name: found.params[name] for name in found.target})
    same(found.aux, wanted.aux)
    same((found.opt, found.hypers), (fresh.opt, fresh.hypers))


@pytest.mark.parametrize("other", ["qmix", "pqn_qmix"])
def test_the_mean_that_plays_begins_with_what_was_taken(other, tmp_path):
    """The other run's own mean, or a copy of its parameters where it kept none."""
    into = small_algo("pqn_qmix")
    found = small_algo(other, {"role": into["role"]})
    cfg = run_config(found, 1, {"run_dir": str(tmp_path)})
    rundir.create(cfg)
    whole = states(cfg, make_learner(found, ENV.spec))
    moved = whole._replace(
        params=jax.tree.map(lambda x: x + 1, whole.params),
        aux=jax.tree.map(lambda x: x + 2, whole.aux),
    )
    where = tmp_path / rundir.CHECKPOINTS
    checkpoint.save(where, 64, {"learner": moved}, {"iterations": 1}, 1)
    cfg = run_config(into, 1, {"init_from": str(tmp_path)})
    learner = warm.begun(cfg, make_learner(into, ENV.spec), ENV.spec)
    got = states(cfg, learner)
    same(got.params, moved.params)
    mean = moved.aux.get("average", {"agent": moved.params["agent"]})
    same(got.aux["average"], mean)
    same(learner.judged(got).params["agent"], mean["agent"])


def test_without_a_name_and_with_a_checkpoint_of_its_own_nothing_changes(source):
    folder, _ = source
    learner = make_learner(ALGO, ENV.spec)
    assert warm.begun(run_config(ALGO), learner, ENV.spec) is learner
    own = {"run_dir": str(folder), "resume": True, "init_from": "gone"}
    assert warm.begun(run_config(ALGO, 2, own), learner, ENV.spec) is learner
    assert run._learner(run_config(ALGO, 2, own), ENV).start is None


def test_what_does_not_fit_is_listed(source, tmp_path):
    folder, _ = source
    wide = {**ALGO, "mixer": {**ALGO["mixer"], "embed": 5}}
    cfg = run_config(wide, 1, {"init_from": str(folder)})
    with pytest.raises(ConfigError, match="has other parameters than") as refused:
        warm.begun(cfg, make_learner(wide, ENV.spec), ENV.spec)
    *lines, more = str(refused.value).splitlines()[1:]
    assert len(lines) == 8 and more.startswith("and ")
    assert all(line.startswith("mixer/params/") for line in lines)
    assert all("stored [" in line and "needed [" in line for line in lines)
    nowhere = run_config(ALGO, 1, {"init_from": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"init_from: run_dir: .* holds no run"):
        warm.begun(nowhere, make_learner(ALGO, ENV.spec), ENV.spec)
