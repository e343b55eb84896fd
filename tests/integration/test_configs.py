"""Every file of ``configs/algo``, at its real size or run at toy size."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes.worlds import counting
from support import ALGOS, load_algo, merge, run_config, small_algo

from experiments.door.resume import replaced
from rolemarl_jax.disk.rundir import leaves
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import Cursor, make_program

WORLD = counting(6, n_agents=4)


def calm(env, scale=1e-6):
    """The same world in numbers that networks are made for."""

    def observe(state):
        seen = env.observe(state)
        return seen._replace(obs=scale * seen.obs, state=scale * seen.state)

    def step(key, state, actions):
        state, result = env.step(key, state, actions)
        return state, result._replace(reward=scale * result.reward)

    return replace(
        env, spec=replace(env.spec, name="smax/3m"), observe=observe, step=step
    )


PREY = calm(WORLD)


def cursors(program):
    zero = jnp.zeros((), jnp.int32)
    return [Cursor(zero, zero, zero + i) for i in range(len(program.stages))]


def variant(name):
    """Whether quick tests trace most of it; of R3DM at small sizes."""
    return any(part in name for part in ("_no_", "grid", "roma_td_", "r3dm"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if variant(n) else n for n in ALGOS],
)
def test_traces_at_real_size(name):
    """Shapes and types fit from end to end; nothing is compiled."""
    algo = load_algo(name)
    assert algo["name"] == name
    program = make_program(run_config(algo, 2), PREY, make_learner(algo, PREY.spec))
    state = jax.eval_shape(program.init, jnp.arange(2))
    at = cursors(program)[-1]
    after, tally = jax.eval_shape(program.segment, state, at, jnp.asarray(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert {x.shape for x in tally.sums.values()} == {(2,)}
    assert jax.eval_shape(program.evaluate, after).ret.shape == (2, 16)


@pytest.mark.parametrize(
    "name",
    [
        *("acorm", "roma", "eoi", "acorm_mappo", "eoi_maac"),
        pytest.param("r3dm", marks=pytest.mark.slow),
    ],
)
def test_no_size_has_to_be_another(name):
    """Each may be twice as large by itself; losses are traced, nothing is compiled."""
    algo = load_algo(name)
    for key, value in leaves(algo):
        # There are hypernetworks of one layer or two.
        if type(value) is not int or value < 2 or key == "mixer.hypernet_layers":
            continue
        learner = make_learner(replaced(algo, {key: 2 * value}), PREY.spec)
        jax.eval_shape(learner.init, jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGOS)
def test_runs(name):
    """Two iterations of each stage and an evaluation, two seeds: finite, and moving."""
    algo = small_algo(name)
    small = {"replay": {"episodes": 64, "batch": 8}}
    cfg = run_config(algo, 2, merge(small, {"eval": {"episodes": 4, "worlds": 4}}))
    program = make_program(cfg, PREY, make_learner(algo, PREY.spec))
    state = program.init(jnp.arange(2))
    before = jax.tree.map(jnp.copy, state.learner.params)
    for at, stage in zip(cursors(program), program.stages, strict=True):
        count = stage.iterations if stage.name == "warmup" else 2
        state, tally = program.segment(state, at, jnp.asarray(count))
    for value in jax.tree.leaves((state.learner.params, tally.sums)):
        assert np.isfinite(value).all()
    same = jax.tree.map(lambda a, b: (a == b).all(), before, state.learner.params)
    assert not jax.tree.all(same)
    assert (program.evaluate(state).length >= 1).all()
