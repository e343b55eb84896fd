"""Roles that are given: the unit's own type, and one that is drawn for an episode."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes.worlds import counting
from support import SPEC, run_config, small_algo
from test_watch import skirmish

from experiments import configure
from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.memory import make_memory
from rolemarl_jax.experience.rollout import make_rollout
from rolemarl_jax.experience.store import make_store
from rolemarl_jax.learners import make_learner
from rolemarl_jax.roles import make_method, random_role
from rolemarl_jax.types import EnvSpec, Inputs

KEY = jax.random.key(0)
ROLES = 3


def test_the_type_is_that_of_the_unit():
    env = skirmish()
    method = make_method(small_algo("unit_type")["role"], env.spec)
    world = env.reset(KEY)
    x = Inputs(env.observe(world).obs[None, None], jnp.zeros(0), jnp.zeros(0))
    role = np.asarray(method.encode({}, x, {}, None)[0]["role"])[0, 0]
    assert [env.spec.kinds[i] for i in role.argmax(-1)] == [
        "marine",
        "marine",
        "zealot",
    ]
    assert set(role.ravel()) == {0.0, 1.0} and (role.sum(-1) == 1).all()


def test_worlds_without_types_are_refused():
    spec = EnvSpec("smac/3m", 3, 5, 7, 6, 8)
    with pytest.raises(
        ConfigError, match=r"role\.name: got 'unit_type', but agents of"
    ):
        make_learner(small_algo("unit_type"), spec)


def sequence(steps=12, rows=40, seed=0):
    g = np.random.default_rng(seed)
    shape = steps, rows, SPEC.n_agents
    reset = g.random(shape[:2]) < 0.2
    obs = g.normal(size=(*shape, SPEC.obs_dim)).astype(np.float32)
    return Inputs(jnp.asarray(obs), jnp.zeros(shape, int), jnp.asarray(reset))


ENCODE = jax.jit(partial(random_role.encode, ROLES, {}), static_argnums=2)


def lots(x, lot):
    feats, carried = ENCODE(x, {"lot": lot}, None)
    found = np.asarray(feats["role"].argmax(-1))
    np.testing.assert_array_equal(found, carried["lot"])
    assert (feats["role"].sum(-1) == 1).all()
    return found


def test_a_lot_lasts_from_one_beginning_to_the_next():
    x = sequence()
    before = jnp.asarray(np.random.default_rng(1).integers(0, ROLES, (40, 3)))
    found, now = lots(x, before), np.asarray(before)
    for t, reset in enumerate(np.asarray(x.reset)):
        drawn = lots(jax.tree.map(lambda v, t=t: v[t : t + 1], x), before)[0]
        now = np.where(reset[:, None], drawn, now)
        np.testing.assert_array_equal(found[t], now)


def test_lots_are_even_and_of_each_agent_and_episode():
    x = sequence(1, 3000)._replace(reset=jnp.ones((1, 3000), bool))
    found = lots(x, jnp.zeros((3000, 3), int))[0]
    joint = np.bincount(found @ [9, 3, 1], minlength=27) / 3000
    assert abs(joint - 1 / 27).max() < 4 * np.sqrt(1 / 27 / 3000)


def test_round_numbers_decide_too():
    """Observations of a few ones and zeros, which differ in high bits only."""
    obs = np.random.default_rng(0).integers(0, 2, (1, 3000, 3, 20)).astype(np.float32)
    found = np.asarray(random_role.draw(jnp.asarray(obs), ROLES))[0]
    joint = np.bincount(found @ [9, 3, 1], minlength=27) / 3000
    assert abs(joint - 1 / 27).max() < 4 * np.sqrt(1 / 27 / 3000)


@pytest.mark.parametrize(
    "name", [pytest.param("random_role", marks=pytest.mark.slow), "pqn_random_role"]
)
def test_who_acts_and_who_learns_see_one_role(name):
    """The lots of all steps as they were acted, and as a batch makes them anew."""
    env, algo = counting(6, n_agents=2), small_algo(name)
    learner, cfg, ticks = make_learner(algo, env.spec), run_config(algo), 32
    memory = make_memory(cfg, learner, make_store("packed", env), ticks)
    rollout = make_rollout(env, learner, memory.store, cfg.train.worlds, 1)
    collect, add = jax.jit(rollout.collect), jax.jit(memory.add)
    state, now, kept = learner.init(KEY), rollout.init(KEY), memory.init()
    acted = {}  # lots by episode and step, which observations show
    for part in range(2):
        before, blocks = now, []
        for tick in range(part * ticks, (part + 1) * ticks):
            places = np.asarray(jax.vmap(env.observe)(now.env).obs)[:, 0, :2]
            now, block, _ = collect(state, now, tick, KEY)
            used = np.asarray(now.agents.carry["lot"])
            acted |= {tuple(at): lot for at, lot in zip(places, used, strict=True)}
            blocks.append(block)
        whole = jax.tree.map(lambda *x: jnp.concatenate(x), *blocks)
        kept = add(kept, before, whole)

    batch = jax.jit(memory.sample)(kept, jax.random.key(5))
    carry = batch.carry or learner.carry(batch.mask.shape[1])
    encode = jax.jit(partial(random_role.encode, algo["role"]["roles"], {}))
    found = np.asarray(encode(batch.inputs, carry, KEY)[1]["lot"])
    mask, places = np.asarray(batch.mask), np.asarray(batch.obs)[:, :, 0, :2]
    assert mask.sum() > 50
    within = (mask[0] > 0) & (places[0, :, 1] > 0)
    assert within.any() == bool(batch.carry)
    for at in np.argwhere(mask > 0):
        np.testing.assert_array_equal(found[*at], acted[tuple(places[*at])])


def test_rows_that_begin_anywhere_are_refused():
    algo = small_algo("random_role")
    env = counting(6)
    learner = make_learner(algo, env.spec)
    cfg = run_config(algo, over={"replay": {"sampling": "filled"}})
    with pytest.raises(ConfigError, match=r"replay\.sampling: got 'filled', but"):
        make_memory(cfg, learner, make_store("packed", env), 1)


@pytest.mark.parametrize("run", ["debug", "default", "paper"])
def test_configured_as_it_has_to_be(run):
    assert configure("algo=random_role", f"run={run}").replay.sampling == "episodes"
    fresh = configure("algo=pqn_random_role", f"run={run}").replay.sampling
    assert fresh == "fresh"
