"""What the fast battle has on top of JaxMARL's, by hand computation."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import envs
from envs import smax
from envs.battle import fast, scripted
from envs.battle.deeds import NAMES, deeds
from envs.battle.maps import MAPS
from envs.battle.observe import observer
from envs.battle.world import Rules, Units
from envs.picture import film, palette
from rolemarl_jax.config import build
from rolemarl_jax.types import Env

YAML = Path(__file__).parents[2] / "configs" / "env" / "smax.yaml"
DEFAULTS = yaml.safe_load(YAML.read_text())
STOP = 4


def rules_of(**changes: object) -> Rules:
    """The rules of SMAX as its YAML file has it, but for ``changes``."""
    return smax.rules_of(build(smax.Config, DEFAULTS | changes, "env"))


def make(**changes: object) -> Env:
    """The environment as its YAML file has it, but for ``changes``."""
    return envs.make(DEFAULTS | changes)


class Scene(NamedTuple):
    """Units at chosen places."""

    rules: Rules
    world: fast.World


def scene(
    allies: dict[str, int], enemies: dict[str, int], places: list, **changes: object
) -> Scene:
    """A custom battle in full health; enemies do not shoot unless told to."""
    calm = {"enemy_shoots": False, "map": "custom"}
    rules = rules_of(**calm | {"allies": allies, "enemies": enemies} | changes)
    n = rules.n_units
    units = Units(
        position=jnp.array(places, jnp.float32),
        health=jnp.array(rules.full[rules.types]),
        cooldown=jnp.zeros(n),
        action=jnp.full(n, STOP, jnp.int32),
        types=jnp.array(rules.types, jnp.int32),
        shield=jnp.array(rules.full_shield[rules.types]) if rules.shields else None,
        step=jnp.zeros((), jnp.int32),
    )
    return Scene(rules, fast.restorer(rules)(units))


def play(made: Scene, *changes: dict, actions: list[int]) -> tuple[fast.World, object]:
    """One env step from the scene with each of ``changes``, without chance."""
    rules, world = made
    worlds = [world._replace(units=world.units._replace(**c)) for c in changes]
    stacked = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *worlds)
    chances = fast.Chances(
        jnp.zeros((8, rules.n_units)), jnp.full((rules.n_enemies, 2), 0.5)
    )
    go = fast.stepper(rules)
    step = jax.jit(jax.vmap(lambda w: go(w, jnp.array(actions), chances)))
    return step(stacked)


def near(got: object, want: object) -> None:
    """Asserts closeness."""
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=1e-4)


def test_medivacs_heal_for_energy() -> None:
    """12.6 health a second at a third of the energy; none for the dead or the whole."""
    teams = {"medivac": 1, "marine": 2}, {"marine": 1}
    made = scene(*teams, [[5, 5], [6, 5], [5, 6], [30, 30]])
    full = [150.0, 45, 45, 45]
    hurt, tiny = [150.0, 20, 45, 45], [150.0, 44.9, 45, 45]
    dead = [150.0, 0, 45, 45]
    energy = jnp.array([50.0, 0, 0, 0])
    after, out = play(
        made,
        {"health": jnp.array(hurt), "cooldown": energy},
        {"health": jnp.array(full), "cooldown": energy},
        {"health": jnp.array(dead), "cooldown": energy},
        {"health": jnp.array(tiny), "cooldown": energy},
        {"health": jnp.array(hurt), "cooldown": energy * 0},
        actions=[STOP + 2, STOP, STOP],
    )
    grown = 0.5 * 0.7875
    near(after.units.health[:, 1], [20 + 6.3, 45, 0, 45, 20 + 0.7875])
    cost = 6.3 / 3
    part = 0.7875 / 3
    want = [50 + grown - cost, 50 + grown, 50 + grown, 50 + grown - part]
    near(after.units.cooldown[:, 0], [*want, grown - part])
    assert not out.terminated.any()
    # Hurt and with others in reach: the medivac may heal both marines, not itself.
    see = jax.jit(observer(made.rules, raw=False))
    avail = np.asarray(see(made.world.units).avail)
    assert avail[0].tolist() == [True] * 5 + [False, True, True]
    assert avail[1].tolist() == [True] * 5 + [False] * 3
    close = made.world.units._replace(position=jnp.array([[5.0, 5]] * 4))
    assert see(close).avail[1].tolist() == [True] * 6 + [False] * 2


def test_any_healing_is_seen() -> None:
    """Of a medivac that attends a marine, told from two worlds in a row."""
    cases = [
        (50.0, 20.0, "heal"),
        (50.0, 44.5, "heal"),  # for one substep: more energy is gained than spent
        (0.0, 20.0, "heal"),
        (200.0, 20.0, "heal"),
        (50.0, 45.0, "aim"),
        (199.9, 45.0, "aim"),  # energy grows no further
    ]
    teams = {"medivac": 1, "marine": 1}, {"marine": 1}
    made = scene(*teams, [[5, 5], [6, 5], [30, 30]])
    begun = [
        {"health": jnp.array([150, of, 45]), "cooldown": jnp.array([energy, 0, 0])}
        for energy, of, _ in cases
    ]
    after, _ = play(made, *begun, actions=[STOP + 2, STOP])
    for k, (one, (_, health, deed)) in enumerate(zip(begun, cases, strict=True)):
        before = made.world.units._replace(**one)
        now = jax.tree.map(lambda x, k=k: x[k], after.units)
        two = jax.tree.map(lambda *x: np.stack(x), before, now)
        assert (now.health[1] > health) == (deed == "heal")
        assert NAMES[deeds(made.rules, two).deed[1, 0]] == deed, cases[k]


def test_healers_alone_have_lost() -> None:
    """The last fighter's death ends the battle, on either side."""
    teams = {"medivac": 1, "marine": 1}, {"medivac": 1, "marine": 1}
    made = scene(*teams, [[5, 5], [6, 5], [20, 20], [21, 20]])
    _, out = play(
        made,
        {"health": jnp.array([150.0, 0, 150, 45])},
        {"health": jnp.array([150.0, 45, 150, 0])},
        {"health": jnp.array([150.0, 45, 150, 45])},
        actions=[STOP, STOP],
    )
    assert out.terminated.tolist() == [True, True, False]
    assert out.won.tolist() == [False, True, False]


def test_banelings_burst() -> None:
    """35 to light units around it, 16 to others, and the baneling's own death."""
    teams = {"baneling": 1, "zealot": 1}, {"zealot": 3, "stalker": 1}
    places = [[10, 10], [10, 11], [11.5, 10], [9, 8.5], [10, 12.6], [8.2, 10]]
    after, out = play(scene(*teams, places), {}, actions=[STOP + 1, STOP])
    near(after.units.health[0], [0, 150, 115, 115, 150, 144])
    near(out.reward, [(35 / 150 + 35 / 150 + 16 / 160) / 4])


def test_colossi_hit_a_line() -> None:
    """30 to light units across the line of fire, at the depth of the target."""
    teams = {"colossus": 1, "zealot": 1}, {"zealot": 4, "stalker": 1}
    places = [[10, 16], [16, 15.5], [16, 16], [16, 17.2], [16, 14.4], [17.2, 16]]
    made = scene(*teams, [*places, [16, 15]])
    after, _ = play(made, {}, actions=[STOP + 1, STOP])
    near(after.units.health[0], [350, 150, 120, 120, 150, 150, 140])


def test_shields_take_damage_and_come_back() -> None:
    """Damage goes to the shield first; 2.8 a second after 7.14 seconds in peace."""
    teams = {"marine": 1}, {"stalker": 2}
    places = [[10, 10], [13, 10], [30, 30]]
    made = scene(*teams, places, shields=True)
    rested = made._replace(world=made.world._replace(quiet=jnp.full(3, 8.0)))
    shield = jnp.array([0.0, 5, 40])
    after, out = play(
        rested, {}, {"shield": shield}, {"shield": shield * 2}, actions=[STOP + 1]
    )
    near(after.units.health[:, 1], [80, 76, 80])
    near(after.units.shield[0], [0, 71, 80])
    near(after.units.shield[:, 2], [80, 41.4, 80])
    near(after.quiet[0], [8.5, 7 / 16, 8.5])
    near(out.reward, [9 / 320, (9 - 1.4) / 320, 9 / 320])


def test_units_go_around_rock() -> None:
    """Corridor's zerglings reach the zealots through the gap and never the rock."""
    rules = rules_of(map="corridor", enemy_shoots=False)
    reset, step = fast.dynamics(rules)

    def one(key: jax.Array) -> tuple:
        def body(world: fast.World, t: jax.Array) -> tuple:
            stay = jnp.full(6, STOP)
            world, _ = step(jax.random.fold_in(key, t), world, stay)
            return world, world.units.position

        world, places = jax.lax.scan(body, reset(key), jnp.arange(40))
        return world, places

    world, places = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 8))
    rock = rules.battle.choke
    x, y = np.asarray(places)[..., 0], np.asarray(places)[..., 1]
    inside = (x > rock.left) & (x < rock.right) & ((y < rock.low) | (y > rock.high))
    assert not inside.any()
    assert (np.asarray(world.units.position)[:, 6:, 0] < rock.left).mean() > 0.9


@pytest.mark.parametrize("race", ["terran", "protoss", "zerg"])
def test_random_types_have_the_published_weights(race: str) -> None:
    """0.45, 0.45, 0.1; teams are equal, and the eleventh enemy is none of the rare.

    SMACv2's ``exception_unit_types`` are medivacs, colossi and banelings. Where teams
    are mirrored the eleventh is anywhere on the right, and no ally near the middle.
    """
    env = make(map=f"smacv2_{race}_10_vs_11")
    keys = jax.random.split(jax.random.key(0), 2000)
    world = jax.jit(jax.vmap(lambda key: env.pack(env.reset(key))))(keys)
    types, place = np.asarray(world.types), np.asarray(world.position)
    share = np.bincount(types[:, :10].ravel(), minlength=3) / types[:, :10].size
    # The pool lists types in the order of units.py; the rare one is last.
    np.testing.assert_allclose(share, [0.45, 0.45, 0.1], atol=0.015)
    np.testing.assert_array_equal(types[:, :10], types[:, 10:20])
    assert set(types[:, 20]) == {0, 1}
    assert place.min() >= 1 and place.max() <= 31
    around = np.abs(place[:, :10] - 16).max((1, 2)) < 5
    assert 0.45 < around.mean() < 0.55
    apart = place[~around][:, :10] - place[~around][:, 10:20] * [-1, 1] - [32, 0]
    assert np.abs(apart).mean() < 0.3
    # A sixteenth of the right half, but for the few that are pushed.
    assert 0.03 < (place[~around][:, 20, 0] < 17).mean() < 0.1


@pytest.mark.parametrize(
    "name", ["MMM2", pytest.param("smacv2_protoss_5_vs_5", marks=pytest.mark.slow)]
)
def test_packing_is_lossless(name: str) -> None:
    """Worlds of all new features look the same after replay, to the bit."""
    env = make(map=name, shields=name != "MMM2")

    @jax.jit
    @jax.vmap
    def roll(key: jax.Array) -> tuple:
        def body(world: object, t: jax.Array) -> tuple:
            now = jax.random.fold_in(key, t)
            seen = env.observe(world)
            action = jax.random.categorical(now, jnp.where(seen.avail, 0.0, -jnp.inf))
            return env.step(now, world, action)[0], (seen, env.pack(world))

        return jax.lax.scan(body, env.reset(key), jnp.arange(40))[1]

    seen, packed = roll(jax.random.split(jax.random.key(0), 16))
    again = jax.jit(jax.vmap(jax.vmap(lambda p: env.observe(env.unpack(p)))))(packed)
    for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(again), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert (np.asarray(packed.health)[:, -1] == 0).any()


def test_focus_picks_the_weakest_in_reach() -> None:
    """Both teams' actions for one scene; the closest is another."""
    places = [[10, 10], [13, 10], [14, 10], [14.8, 10], [25, 10]]
    made = scene({"marine": 1}, {"marine": 4}, places)
    health = jnp.array([45.0, 40, 30, 10, 5])
    world = made.world.units._replace(health=health)
    for pick, slot in (("focus", 2), ("closest", 0)):
        who = scripted.team(made.rules, allies=True)
        decide = jax.jit(scripted.decider(made.rules, who, pick))
        action, _ = decide(world, scripted.blank(1), jnp.full((1, 2), 0.5))
        assert action.tolist() == [STOP + 1 + slot]
    turned = scene({"marine": 4}, {"marine": 1}, [*places[1:], places[0]])
    world = turned.world.units._replace(health=jnp.roll(health, -1))
    who = scripted.team(turned.rules, allies=False)
    decide = jax.jit(scripted.decider(turned.rules, who, "focus"))
    action, _ = decide(world, scripted.blank(1), jnp.full((1, 2), 0.5))
    # Slots of the scripted team count from the last ally to the first.
    assert action.tolist() == [STOP + 1 + 1]


def test_maps_of_the_papers_are_there() -> None:
    """Sizes of teams, allies against enemies."""
    sizes = {
        "MMM2": (10, 12),
        "1c3s5z": (9, 9),
        "corridor": (6, 24),
        "6z4b": (10, 10),
        "10z5b_vs_2z3s": (15, 5),
        "6s4z_vs_10b30z": (10, 40),
        "bane_vs_bane": (24, 24),
        "2c_vs_64zg": (2, 64),
        "so_many_baneling": (7, 32),
        "smacv2_zerg_10_vs_11": (10, 11),
    }
    got = {name: (len(MAPS[name].allies), len(MAPS[name].enemies)) for name in sizes}
    assert got == sizes


def test_pictures_show_roles_healing_and_bursts(tmp_path: Path) -> None:
    """Colours of what happened are in the picture, and only then."""
    from envs.battle import render

    teams = {"medivac": 1, "marine": 1}, {"baneling": 2}
    made = scene(*teams, [[5, 5], [8, 5], [20, 20], [20, 25]], enemy_shoots=True)
    before = made.world.units._replace(
        cooldown=jnp.array([50.0, 0, 0, 0]), health=jnp.array([150.0, 20, 30, 30])
    )
    now = before._replace(
        action=jnp.array([STOP + 2, STOP, STOP + 1, STOP]),
        cooldown=jnp.array([48.0, 0, 1, 0]),
        health=jnp.array([150.0, 26, 0, 30]),
        step=jnp.int32(1),
    )
    roles = np.array([2, 4])

    def shows(picture: np.ndarray, colour: tuple[int, int, int], least: int) -> bool:
        return (np.abs(picture - np.array(colour)).max(-1) < 12).sum() >= least

    pictures = render.frames(made.rules, [before, now], [roles, roles], size=640)
    for picture in pictures:
        assert picture.shape == pictures[0].shape and picture.dtype == np.uint8
        assert all(shows(picture, palette.ROLES[role], 10) for role in roles)
        assert shows(picture, palette.ENEMY, 10)
        assert not shows(picture, palette.ROLES[0], 1)
    for colour in (render.HEALING, render.BLAST):
        assert [shows(picture, colour, 5) for picture in pictures] == [False, True]
    film.write_gif(tmp_path / "battle.gif", pictures)
    assert (tmp_path / "battle.gif").stat().st_size > 1000


def test_scripted_healers_follow_the_closest_without_wounded() -> None:
    """Of both teams alike, whatever the order of units."""
    healers = {True: 2, False: 5}
    places = [[4, 16], [9, 20], [4, 11], [28, 16], [23, 20], [28, 11]]
    made = scene({"marine": 2, "medivac": 1}, {"marine": 2, "medivac": 1}, places)
    world = made.world.units
    for allies, healer in healers.items():
        who = scripted.team(made.rules, allies=allies)
        decide = jax.jit(scripted.decider(made.rules, who, "closest"))
        x, y = places[healer]
        for near_one, far_one in ((1, 2), (2, 1)):
            place = world.position.at[healer - near_one].set(jnp.array([x, y + 4.5]))
            side = x + (5 if allies else -5)
            place = place.at[healer - far_one].set(jnp.array([side, y]))
            moved = world._replace(position=place)
            chance = jnp.full((3, 2), 0.5)
            action, _ = decide(moved, scripted.blank(3), chance)
            # Up to the close marine, not to the side of the other.
            assert action[2] == 0
