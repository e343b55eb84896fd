"""Policy learners solve worlds whose best return is known."""

import numpy as np
import pytest
from policy_worlds import algo, own_action, run_config, trained

from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import make_program

TINY = {
    "recurrent_policy": {"role__hidden": 16, "role__agent_id": False},
    "acorm_mappo": {
        "role__actor_hidden": 16,
        "role__critic_hidden": 8,
        "role__heads": 2,
        "role__attention": 8,
        "role__out": 8,
        "role__critic_head": 16,
        "role__embedding": 16,
        "role__role": 8,
        "role__clusters": 2,
        "role__kmeans_iterations": 2,
        "role__pretrain_embedding": 15,
        "role__pretrain_contrastive": 15,
    },
}


def returns(values, iterations, steps, **replay):
    env = own_action(length=2)
    cfg = run_config(values, 16, steps, **replay)
    program = make_program(cfg, env, make_learner(values, env.spec))
    state = trained(program, iterations)
    return np.array(program.evaluate(state).ret)


@pytest.mark.parametrize(
    "name",
    [
        "mappo",
        pytest.param("acorm_mappo", marks=pytest.mark.slow),
        pytest.param("eoi_ippo", marks=pytest.mark.slow),
    ],
)
def test_own_action_on_policy(name):
    sizes = TINY["acorm_mappo" if name == "acorm_mappo" else "recurrent_policy"]
    values = algo(name, minibatch=None, actor_lr=5e-3, critic_lr=5e-3, **sizes)
    assert (returns(values, 25, 16 * 8) == 2).all()


@pytest.mark.slow
def test_own_action_off_policy():
    sizes = {"policy_widths": [16], "critic_width": 16, "heads": 2, "batch": 64}
    values = algo("maac", **sizes, actor_lr=5e-3, critic_lr=5e-3, tau=0.02)
    replay = {"sampling": "episodes", "episodes": 400, "mean_length": 2, "batch": 32}
    assert (returns(values, 200, 16, **replay) == 2).all()


def test_untrained_policies_do_not_solve_it():
    values = algo("mappo", minibatch=None, **TINY["recurrent_policy"])
    assert (returns(values, 0, 16 * 8) < 2).any()
