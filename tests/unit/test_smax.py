"""SMAX on the Env protocol: worlds survive packing, ends of episodes are told apart."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

import envs
from envs.battle.teams import Wish, find
from envs.battle.units import JAXMARL
from envs.battle.world import Packed
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import Env

YAML = Path(__file__).parents[2] / "configs" / "env" / "smax.yaml"
DEFAULTS = yaml.safe_load(YAML.read_text())
LIMIT = 13
BYTES = {
    "2s3z": 141,
    "5m_vs_6m": 155,
    "3s5z_vs_3s6z": 239,
    "27m_vs_30m": 799,
    "smacv2_5_units": 151,
}
BACKENDS = ("jaxmarl", "fast")


def make(**changes: object) -> Env:
    """SMAX as its YAML file has it, but for ``changes``."""
    return envs.make(DEFAULTS | changes)


def random_worlds(env: Env, n: int, seed: int = 0) -> Packed:
    """Packed worlds with units anywhere, some dead, in any condition."""
    one = jax.eval_shape(lambda key: env.pack(env.reset(key)), jax.random.key(0))
    units = one.health.shape[0]
    rng = np.random.default_rng(seed)
    n_enemies = env.spec.n_actions - 5
    top = np.where(np.arange(units) < env.spec.n_agents, n_enemies, units - n_enemies)
    alive = rng.random((n, units)) < 0.7
    types = rng.integers(0, 6, (n, units)).astype(np.uint8)
    health = alive * rng.integers(1, 36, (n, units))  # a zergling's, the least
    centre = rng.uniform(4, 28, (n, 1, 2))
    return Packed(
        position=(centre + rng.normal(0, 4, (n, units, 2))).astype(np.float32),
        health=health.astype(one.health.dtype),
        cooldown=rng.uniform(-3, 2, (n, units)).astype(np.float32),
        action=rng.integers(0, 5 + top, (n, units)).astype(np.uint8),
        types=types if one.types is not None else None,
        shield=None,
        step=rng.integers(0, 101, n).astype(one.step.dtype),
    )


def same(left: object, right: object) -> None:
    """Asserts that two pytrees are equal to the bit."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    for a, b in pairs:
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("name", [*BYTES, "2s3z jaxmarl"])
def test_packed_worlds_look_the_same(name: str) -> None:
    """Observations before and after packing are bit-identical, in few bytes."""
    name, *backend = name.split()
    env = make(map=name, backend=(backend or ["fast"])[0])
    packed = random_worlds(env, 2000)
    before = jax.vmap(env.unpack)(packed)
    seen = jax.jit(jax.vmap(env.observe))(before)
    stored = jax.vmap(env.pack)(before)
    same(stored, packed)
    same(jax.jit(jax.vmap(lambda p: env.observe(env.unpack(p))))(stored), seen)
    assert sum(leaf[0].nbytes for leaf in jax.tree.leaves(packed)) == BYTES[name]
    assert seen.obs.shape == (2000, env.spec.n_agents, env.spec.obs_dim)
    assert seen.state.shape == (2000, env.spec.state_dim)
    assert seen.avail.shape == (2000, env.spec.n_agents, env.spec.n_actions)
    assert seen.avail.dtype == bool and seen.avail.any(-1).all()
    assert seen.state.min() >= 0.0 and seen.state.max() == 1.0


@pytest.mark.parametrize("name,shown", [("3s5z_vs_3s6z", False), ("3s_vs_5z", True)])
def test_observations_are_jaxmarl_s(name: str, shown: bool) -> None:
    """Observations, raw state and availability equal the simulator's own."""
    env = make(map=name, see_enemy_actions=shown, state="raw", backend="jaxmarl")
    worlds = jax.vmap(env.unpack)(random_worlds(env, 200, seed=1))
    seen = jax.jit(jax.vmap(env.observe))(worlds)
    scenario = map_name_to_scenario(name)
    sim = HeuristicEnemySMAX(scenario=scenario, see_enemy_actions=shown)
    obs = jax.jit(jax.vmap(sim.get_obs))(worlds)
    avail = jax.jit(jax.vmap(sim.get_avail_actions))(worlds)
    state = jax.vmap(sim.get_world_state)(worlds)
    np.testing.assert_allclose(seen.state, state, rtol=2e-7)
    for i, agent in enumerate(sim.agents):
        np.testing.assert_allclose(seen.obs[:, i], obs[agent], rtol=3e-7, atol=1e-7)
        np.testing.assert_array_equal(seen.avail[:, i], avail[agent])


@pytest.fixture(scope="module", params=BACKENDS)
def env(request: pytest.FixtureRequest) -> Env:
    """3m with a short time limit."""
    return make(max_steps=LIMIT - 1, backend=request.param)


@pytest.fixture(scope="module")
def step(env: Env):
    """Its compiled step over worlds."""
    return jax.jit(jax.vmap(env.step))


def keys(n: int) -> jax.Array:
    """Keys ``[n]``."""
    return jax.random.split(jax.random.key(3), n)


def test_time_limit_truncates_and_keeps_the_last_world(env: Env, step) -> None:
    """Nobody fights: LIMIT steps, then truncation; the world is not reset."""
    assert env.spec.episode_limit == LIMIT
    start = world = jax.jit(jax.vmap(env.reset))(keys(64))
    packed = jax.vmap(env.pack)(world)
    apart = packed.position.at[:, :3, 0].set(3.0)
    world = jax.vmap(env.unpack)(packed._replace(position=apart))
    stay = jnp.full((64, 3), 4)
    for t in range(LIMIT):
        world, out = step(keys(64), world, stay)
        assert not out.terminated.any() and not out.won.any()
        assert out.truncated.all() == (t == LIMIT - 1)
        assert out.truncated.any() == (t == LIMIT - 1)
    assert (jax.vmap(env.pack)(world).step == LIMIT).all()
    assert jax.tree.structure(world) == jax.tree.structure(start)
    for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(world), strict=True):
        assert (a.dtype, a.shape, a.weak_type) == (b.dtype, b.shape, b.weak_type)


def duel(env: Env, ours: float, theirs: float, step: int) -> object:
    """64 worlds in which both teams shoot at each other from the first moment."""
    x = np.array([14.0, 14, 14, 17, 17, 17])
    y = np.array([12.0, 16, 20, 20, 16, 12])
    packed = Packed(
        position=np.stack([x, y], 1).astype(np.float32),
        health=np.array([ours] * 3 + [theirs] * 3, np.uint8),
        cooldown=np.zeros(6, np.float32),
        action=np.full(6, 4, np.uint8),
        types=None,
        shield=None,
        step=np.uint8(step),
    )
    many = jax.tree.map(lambda leaf: jnp.array([leaf] * 64), packed)
    return jax.vmap(env.unpack)(many)


@pytest.mark.parametrize("at", [0, LIMIT - 1])
@pytest.mark.parametrize(
    "ours,theirs,won", [(40.0, 5.0, True), (5.0, 40.0, False), (5.0, 5.0, False)]
)
def test_battles_terminate(
    env: Env,
    step,
    ours: float,
    theirs: float,
    won: bool,
    at: int,
) -> None:
    """Win, loss and draw terminate, at the time limit too; only a win counts."""
    world = duel(env, ours, theirs, at)
    attack = jnp.tile(jnp.array([7, 6, 5]), (64, 1))
    after, out = step(keys(64), world, attack)
    assert out.terminated.all() and not out.truncated.any()
    assert (out.won == won).all()
    packed = jax.vmap(env.pack)(after)
    lost = theirs - np.asarray(packed.health, np.float32)[:, 3:]
    np.testing.assert_allclose(out.reward, (lost / 45).mean(1) + won, rtol=1e-5)
    assert packed.step[0] == at + 1
    seen = jax.vmap(env.observe)(after)
    assert (seen.obs[:, 0, -4 - 6] > 0).all() == (ours == 40.0)


def test_rollout_observations_come_back_from_replay(env: Env) -> None:
    """What is rendered inside a scan is rendered again from packed worlds."""

    def body(world, key):
        seen = jax.vmap(env.observe)(world)
        logits = jnp.where(seen.avail, 0.0, -jnp.inf)
        action = jax.random.categorical(key, logits)
        after, _ = jax.vmap(env.step)(jax.random.split(key, 64), world, action)
        return after, (seen, jax.vmap(env.pack)(world))

    @jax.jit
    def roll():
        start = jax.vmap(env.reset)(keys(64))
        return jax.lax.scan(body, start, jax.random.split(jax.random.key(5), 40))

    _, (seen, packed) = roll()
    again = jax.jit(jax.vmap(jax.vmap(lambda p: env.observe(env.unpack(p)))))(packed)
    same(again, seen)
    assert len(np.unique(packed.action)) > 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_custom_teams_are_in_the_order_given(backend: str) -> None:
    """Types of a custom map follow the configuration."""
    teams = {"allies": {"stalker": 1, "zealot": 2}, "enemies": {"zergling": 4}}
    env = make(map="custom", backend=backend, **teams)
    world = jax.jit(env.reset)(jax.random.key(0))
    assert env.pack(world).health.tolist() == [160, 150, 150, 35, 35, 35, 35]
    assert (env.spec.n_agents, env.spec.n_actions) == (3, 9)
    seen = jax.eval_shape(env.observe, world)
    assert seen.obs.shape == (3, env.spec.obs_dim)
    assert seen.state.shape == (env.spec.state_dim,)


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_types_on_request(backend: str) -> None:
    """SMACv2's flags can be put on any map."""
    env = make(map="3m", random_types=True, random_positions=True, backend=backend)
    worlds = jax.jit(jax.vmap(lambda key: env.pack(env.reset(key))))(keys(32))
    assert len(np.unique(worlds.types)) == 6
    assert np.std(worlds.position[:, 0, 0]) > 3


@pytest.mark.parametrize(
    ("changes", "drawn"),
    [
        ({"map": "smacv2_5_units"}, {"marine"}),
        ({"map": "3m", "random_types": True}, {"stalker", "hydralisk"}),
        ({"map": "3m", "random_types": True}, {"marine", "medivac"}),
    ],
)
def test_types_without_a_weight_never_occur(changes: dict, drawn: set[str]) -> None:
    """Whichever types observations tell apart."""
    env = make(**changes, type_weights=dict.fromkeys(drawn, 1 / len(drawn)))
    worlds = jax.jit(jax.vmap(lambda key: env.pack(env.reset(key))))(keys(64))
    assert {env.spec.kinds[i] for i in np.unique(worlds.types)} == drawn


def test_weights_of_all_types_alike_are_jaxmarl_s() -> None:
    """The only ones with which it draws."""
    equal = dict.fromkeys((kind.name for kind in JAXMARL), 1 / 6)
    make(map="smacv2_5_units", type_weights=equal, backend="jaxmarl")


def test_starts_follow_the_types_that_may_occur() -> None:
    """JaxMARL's can lie at the border, so only its own types have them."""
    wish = Wish("3m", None, None, True, True, None)
    assert find(wish).starts == "jaxmarl"
    weights = {"marine": 0.5, "medivac": 0.5}
    assert find(replace(wish, type_weights=weights)).starts == "smacv2"


def test_long_limits_take_a_wider_clock() -> None:
    """The step counter is one byte while it fits."""
    for max_steps, dtype in ((254, jnp.uint8), (255, jnp.uint16)):
        env = make(max_steps=max_steps)
        packed = jax.eval_shape(lambda e=env: e.pack(e.reset(jax.random.key(0))))
        assert packed.step.dtype == dtype


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"map": "2s3x"}, ["env.map", "'2s3x'", "5m_vs_6m", "did you mean '2s3z'"]),
        ({"name": "smxa"}, ["env.name", "'smxa'", "did you mean 'smax'"]),
        ({"max_step": 3}, ["env.max_step", "did you mean 'max_steps'"]),
        ({"max_steps": -1}, ["env.max_steps", "-1", "equal to 0"]),
        ({"max_steps": "x"}, ["env.max_steps", "'x'"]),
        ({"won_battle_bonus": -0.5}, ["env.won_battle_bonus", "-0.5", "equal to 0"]),
        ({"state": "norm"}, ["env.state", "'norm'", "normalised"]),
        ({"attack_mode": "far"}, ["env.attack_mode", "closest"]),
        ({"allies": {"marine": 1}}, ["env.allies", "env.map=custom"]),
        ({"map": "custom"}, ["env.allies", "None", "marine"]),
        (
            {"map": "custom", "allies": {"marin": 2}, "enemies": {"marine": 1}},
            ["env.allies", "'marin'", "did you mean 'marine'"],
        ),
        (
            {"map": "custom", "allies": {"marine": 2}, "enemies": {"marine": 0}},
            ["env.enemies.marine", "got 0", "at least 1"],
        ),
        (
            {"map": "custom", "allies": {"marine": 251}, "enemies": {"marine": 1}},
            ["env.allies", "251", "250"],
        ),
        ({"backend": "quick"}, ["env.backend", "'quick'", "jaxmarl"]),
        ({"backend": "jaxmarl", "map": "MMM"}, ["env.backend", "env.backend=fast"]),
        ({"backend": "jaxmarl", "shields": True}, ["env.backend", "shields"]),
        (
            {"backend": "jaxmarl", "map": "smacv2_zerg_5_vs_5"},
            ["env.backend", "env.backend=fast"],
        ),
        (
            {"backend": "jaxmarl", "attack_mode": "focus"},
            ["env.backend", "focus", "env.backend=fast"],
        ),
        (
            {
                "backend": "jaxmarl",
                "map": "smacv2_5_units",
                "type_weights": {"stalker": 0.5, "zealot": 0.5},
            },
            ["env.backend", "not equally likely", "env.backend=fast"],
        ),
        ({"map": "smacv2_5_units", "random_types": False}, ["env.random_types"]),
        ({"map": "corridor", "random_positions": True}, ["env.random_positions"]),
        ({"type_weights": {"marine": 1.0}}, ["env.type_weights", "random_types=true"]),
        (
            {"map": "custom", "allies": {"medivac": 3}, "enemies": {"marine": 1}},
            ["env.allies", "medivac", "cannot fight"],
        ),
        (
            {"map": "custom", "allies": {"marine": 3}, "enemies": {"medivac": 1}},
            ["env.enemies", "medivac", "cannot fight"],
        ),
        (
            {
                "map": "custom",
                "allies": {"colossus": 100},
                "enemies": {"colossus": 60},
            },
            ["env.allies, env.enemies", "160 units", "640 of 1024", "50%"],
        ),
        *(
            ({"map": "smacv2_terran_5_vs_5", "type_weights": weights}, words)
            for weights, words in (
                ({"marine": 0.5, "marauder": 0.4}, ["env.type_weights", "0.9", "to 1"]),
                ({"marine": 1.0, "medivac": 0.0}, ["type_weights.medivac", "above 0"]),
                ({"marine": 2.0, "medivac": -1.0}, ["type_weights.medivac", "-1"]),
                ({"marien": 1.0}, ["env.type_weights", "did you mean 'marine'"]),
                ({"medivac": 1.0}, ["env.type_weights", "medivac", "cannot fight"]),
                ({}, ["env.type_weights", "sum of 0"]),
            )
        ),
    ],
)
def test_bad_input_is_refused(changes: dict, words: list[str]) -> None:
    """Messages name the key, what was got and what is allowed."""
    with pytest.raises(ConfigError) as error:
        make(**changes)
    for word in words:
        assert word in str(error.value)
