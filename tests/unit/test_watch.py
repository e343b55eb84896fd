"""Episodes that are looked at are those of an evaluation, and scores those that act."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import small_algo

import envs
from experiments import configure
from rolemarl_jax.experience.evaluate import make_evaluate
from rolemarl_jax.experience.watch import make_watch
from rolemarl_jax.learners import make_learner
from rolemarl_jax.rng import named
from rolemarl_jax.run_config import EvalConfig

WORLDS = 4


def skirmish():
    asked = "env.allies={marine: 2, zealot: 1}", "env.enemies={marine: 1}"
    cfg = configure("env=smax", "env.map=custom", *asked, "env.max_steps=30")
    return envs.make_compiled(cfg.env)


def note(env, learner, state, glance):
    scores = learner.scores(state, glance.agents, glance.observation, glance.feats)
    masked = jnp.where(glance.observation.avail, scores, -jnp.inf)
    return glance.action, masked.argmax(-1), jax.vmap(env.bodies)(glance.world)


SLOW = ("roma", "acorm_mappo")


@pytest.mark.parametrize(
    "name", ["maac", *(pytest.param(x, marks=pytest.mark.slow) for x in SLOW)]
)
def test_what_is_watched_is_what_is_judged(name):
    env = skirmish()
    learner = make_learner(small_algo(name), env.spec)
    state = learner.init(jax.random.key(3))
    kept = lambda *args: note(env, learner, *args)  # noqa: E731
    key = jax.random.key(5)
    seen = jax.jit(make_watch(env, learner, WORLDS, kept))(
        state, named(key, "round", 0)
    )
    plan = EvalConfig(every=1, episodes=WORLDS, worlds=WORLDS, role_episodes=0)
    judged = jax.jit(make_evaluate(plan, env, learner))(state, key)
    np.testing.assert_allclose(seen.reward.sum(0), judged.ret, rtol=1e-6)
    np.testing.assert_array_equal(seen.playing.sum(0), judged.length)
    np.testing.assert_array_equal(seen.won, judged.won.astype(bool))
    action, best, bodies = jax.tree.map(np.asarray, seen.noted)
    np.testing.assert_array_equal(action, best)
    names = np.array(env.spec.kinds)[bodies.kind]
    assert (names == ["marine", "marine", "zealot"]).all()
    assert bodies.alive[0].all() and (bodies.place > 0).any()
    dead = ~bodies.alive[np.asarray(seen.playing)]
    assert (action[np.asarray(seen.playing)][dead] == 4).all()  # only stopping is left


def test_ended_worlds_stand_still():
    env = skirmish()
    learner = make_learner(small_algo("qmix"), env.spec)
    seen = jax.jit(make_watch(env, learner, WORLDS, lambda _, glance: glance.world))(
        learner.init(jax.random.key(0)), jax.random.key(1)
    )
    steps = np.asarray(seen.noted.units.step)
    last = np.asarray(seen.playing).sum(0)
    assert (last < env.spec.episode_limit).any()
    np.testing.assert_array_equal(steps.max(0), np.minimum(last, steps.shape[0] - 1))
