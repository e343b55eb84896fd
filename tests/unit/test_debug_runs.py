"""``run=debug`` leaves something to train, whatever the algorithm."""

from types import SimpleNamespace

import pytest
from support import ALGOS

import envs
from experiments.door.compose import composed
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import make_program
from rolemarl_jax.run.legs import lay_out, require_countable
from rolemarl_jax.run_config import RunConfig


@pytest.mark.parametrize("name", ALGOS)
def test_training_is_reached(name):
    world = ["env=pac_men"] if name.endswith("_grid") else []
    values = composed([f"algo={name}", "run=debug", *world]).values
    cfg = build(RunConfig, {**values, "run_dir": ""}, "")
    env = envs.make(cfg.env)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec))
    legs = lay_out(cfg, program)
    assert program.stages[legs[-1].stage].name == "train"
    assert legs[-1].iterations > 0 and legs[-1].evaluate


@pytest.mark.parametrize(("worlds", "most"), [(1, 2**30 - 1), (8, 2**31 - 1)])
def test_counters_of_a_device_never_wrap(worlds, most):
    """Replay writes up to two slots a step into the lane of a world."""
    cfg = SimpleNamespace(total_steps=most)
    require_countable(cfg, most, worlds)
    with pytest.raises(ConfigError, match=f"total_steps: got {most}, which ends with"):
        require_countable(cfg, most + 1, worlds)
