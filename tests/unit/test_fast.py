"""The fast battle follows JaxMARL's, step by step and over whole episodes."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO, SMAX

import envs
from envs import smax
from envs.battle import fast, original
from envs.battle.maps import MAPS
from envs.battle.units import JAXMARL
from envs.battle.world import Rules, Units
from rolemarl_jax.config import build

YAML = Path(__file__).parents[2] / "configs" / "env" / "smax.yaml"
DEFAULTS = yaml.safe_load(YAML.read_text())
SUBSTEP = 1 / 16


def config_of(**changes: object) -> smax.Config:
    """SMAX as its YAML file has it, but for ``changes``."""
    return build(smax.Config, DEFAULTS | changes, "env")


def rules_of(**changes: object) -> Rules:
    """Its rules."""
    return smax.rules_of(config_of(**changes))


def test_tables_are_jaxmarl_s() -> None:
    """Types and maps have JaxMARL's numbers."""
    sim = SMAX()
    assert [kind.name for kind in JAXMARL] == sim.unit_type_names
    rules = rules_of()
    for field, theirs in {
        "whole": sim.unit_type_health,
        "speed": sim.unit_type_velocities,
        "radius": sim.unit_type_radiuses,
        "attack": sim.unit_type_attacks,
        "reach": sim.unit_type_attack_ranges,
        "sight": sim.unit_type_sight_ranges,
        "cooldown": sim.unit_type_weapon_cooldowns,
    }.items():
        np.testing.assert_array_equal(rules.table(field), theirs)
    for name, scenario in MAP_NAME_TO_SCENARIO.items():
        rules = rules_of(map=name)
        assert rules.n_allies == scenario.num_allies
        assert rules.n_enemies == scenario.num_enemies
        random = rules.battle.starts == "jaxmarl"
        assert random == scenario.smacv2_position_generation
        assert (rules.types is None) == scenario.smacv2_unit_type_generation
        if rules.types is not None:
            np.testing.assert_array_equal(rules.types, scenario.unit_types)


def random_units(rules: Rules, n: int) -> Units:
    """Crowded worlds in any condition, ``[n, ...]``."""
    rng = np.random.default_rng(0)
    shape = (n, rules.n_units)
    types = rng.integers(0, 6, shape) if rules.types is None else rules.types
    types = np.broadcast_to(types, shape).astype(np.int32)
    alive = rng.random(shape) < 0.85
    health = alive * np.ceil(rng.uniform(0.01, 1, shape) * rules.full[types])
    position = np.clip(16 + rng.normal(0, 4, (*shape, 2)), 0.1, 31.9)
    return Units(
        position=position.astype(np.float32),
        health=health.astype(np.float32),
        cooldown=rng.uniform(-0.5, 0.5, shape).astype(np.float32),
        action=np.full(shape, 4, np.int32),
        types=types,
        shield=None,
        step=np.zeros(n, np.int32),
    )


def chances_of(rules: Rules) -> Callable[[jax.Array], fast.Chances]:
    """Makes the function from a key to what JaxMARL's ``step_env`` draws from it."""

    def one_enemy(key: jax.Array) -> jax.Array:
        move, attack = jax.random.split(key)
        return jnp.stack([jax.random.uniform(attack), jax.random.uniform(move)])

    def late(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, minval=-SUBSTEP, maxval=2 * SUBSTEP)

    def draw(key: jax.Array) -> fast.Chances:
        key, enemy = jax.random.split(key)
        rows = []
        for _ in range(8):
            key, world = jax.random.split(key)
            rows.append(jax.vmap(late)(jax.random.split(world, rules.n_units)))
        keys = jax.random.split(enemy, rules.n_enemies)
        return fast.Chances(jnp.stack(rows), jax.vmap(one_enemy)(keys))

    return draw


def gap(ours: object, theirs: object) -> np.ndarray:
    """Largest difference of each world ``[n]``."""
    apart = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    return apart.reshape(len(apart), -1).max(1)


@pytest.mark.parametrize(
    "name,pick,n",
    [
        ("2s3z", "closest", 1000),
        ("smacv2_5_units", "random", 1000),
        pytest.param("2s3z", "random", 20_000, marks=pytest.mark.slow),
        pytest.param("smacv2_10_units", "closest", 5000, marks=pytest.mark.slow),
        pytest.param("27m_vs_30m", "closest", 2000, marks=pytest.mark.slow),
        pytest.param("3s5z_vs_3s6z", "random", 5000, marks=pytest.mark.slow),
    ],
)
def test_steps_are_jaxmarl_s(name: str, pick: str, n: int) -> None:
    """Eight env steps from ``n`` crowded worlds, with JaxMARL's own chances."""
    changes = {"map": name, "attack_mode": pick}
    rules, env = rules_of(**changes), envs.make(DEFAULTS | changes)
    sim = original.simulator(rules)
    units = random_units(rules, n)
    here = jax.vmap(fast.restorer(rules))(units)
    there = jax.vmap(original.restorer(sim))(units)
    draw, go = chances_of(rules), fast.stepper(rules)
    their_step = original.dynamics(sim)[1]

    @jax.jit
    @jax.vmap
    def step(key: jax.Array, here: object, there: object) -> tuple:
        avail = env.observe(here).avail
        action = jax.random.categorical(key, jnp.where(avail, 0.0, -jnp.inf))
        here, ours = go(here, action, draw(key))
        there, theirs = their_step(key, there, action)
        return here, there, ours, theirs, original.units(there)

    for t in range(8):
        keys = jax.random.split(jax.random.key(t), n)
        here, there, ours, theirs, expected = step(keys, here, there)
        alive = np.asarray(expected.health) > 0
        assert (gap(here.units.health, expected.health) < 1e-3).mean() > 0.995
        off = [
            gap(got * alive[..., None], want * alive[..., None])
            for got, want in (
                (here.units.position, expected.position),
                (here.units.cooldown[..., None], expected.cooldown[..., None]),
                (here.units.action[..., None], expected.action[..., None]),
            )
        ]
        # Rounding grows where units are crowded; a tie may fall to the other side.
        assert (np.max(off, 0) < 1e-3).mean() > 0.995
        assert np.quantile(np.max(off, 0), 0.99) < 2e-4 if t < 4 else True
        assert (gap(ours.reward, theirs.reward) < 1e-4).mean() > 0.995
        for flag in ("terminated", "truncated", "won"):
            same = getattr(ours, flag) == getattr(theirs, flag)
            assert same.mean() > 0.999
    assert alive.mean() < 0.85 * 0.95


def episodes(cfg: smax.Config, n: int) -> dict[str, np.ndarray]:
    """Statistics of ``n`` battles of scripted allies, ``[n]`` each."""
    env, policy = smax.make(cfg), smax.reference(cfg, "focus")

    def one(key: jax.Array) -> dict[str, jax.Array]:
        def body(carry: tuple, t: jax.Array) -> tuple:
            world, memory, going = carry
            now = jax.random.fold_in(key, t)
            action, memory = policy.act(world, memory, jax.random.fold_in(now, 1))
            world, out = env.step(now, world, action)
            still = going & ~(out.terminated | out.truncated)
            return (world, memory, still), (going, out.reward * going, out.won & going)

        start = env.reset(jax.random.fold_in(key, 10_000))
        first = (start, policy.memory, jnp.ones((), bool))
        _, (going, reward, won) = jax.lax.scan(body, first, jnp.arange(60))
        return {"length": going.sum(), "return": reward.sum(), "won": won.any()}

    keys = jax.random.split(jax.random.key(11), n)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


@pytest.mark.parametrize(
    "name,n",
    [
        ("3m", 256),
        pytest.param("2s3z", 2000, marks=pytest.mark.slow),
        pytest.param("3s5z_vs_3s6z", 2000, marks=pytest.mark.slow),
        pytest.param("smacv2_10_units", 2000, marks=pytest.mark.slow),
    ],
)
def test_episodes_are_jaxmarl_s(name: str, n: int) -> None:
    """Length, return and wins of whole battles agree within chance."""
    ours, theirs = (
        episodes(config_of(map=name, backend=backend), n)
        for backend in ("fast", "jaxmarl")
    )
    for field in ours:
        a, b = ours[field].astype(float), theirs[field].astype(float)
        error = np.sqrt((a.var() + b.var()) / n)
        assert abs(a.mean() - b.mean()) < 4 * error, field
        assert error > 0


def test_starts_are_jaxmarl_s() -> None:
    """Positions of SMACv2's starts have JaxMARL's distribution."""
    n = 4000
    key = jax.random.split(jax.random.key(1), n)
    ours, theirs = (
        jax.jit(jax.vmap(lambda k, e=env: e.pack(e.reset(k)).position))(key)
        for env in (
            envs.make(DEFAULTS | {"map": "smacv2_5_units", "backend": backend})
            for backend in ("fast", "jaxmarl")
        )
    )
    for at in range(-2, 36, 2):
        a, b = ((np.asarray(x) < at).mean(0) for x in (ours, theirs))
        # Of 4,000 draws; worlds are independent, units of a world are not needed to be.
        np.testing.assert_allclose(a, b, atol=4.5 * np.sqrt(0.5 / n))
    spread = [np.asarray(x)[:, :5].std(1).mean(0) for x in (ours, theirs)]
    np.testing.assert_allclose(*spread, rtol=0.05)


def test_every_map_can_be_made() -> None:
    """Sizes of all maps, without compiling anything."""
    for name in MAPS:
        env = envs.make(DEFAULTS | {"map": name})
        world = jax.eval_shape(env.reset, jax.random.key(0))
        seen = jax.eval_shape(env.observe, world)
        spec = env.spec
        assert seen.obs.shape == (spec.n_agents, spec.obs_dim)
        assert seen.state.shape == (spec.state_dim,)
        assert seen.avail.shape == (spec.n_agents, spec.n_actions)
