"""EOI's grid worlds: scripted policies reach what the paper reports, and no more."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import envs
from envs import firefighters, pac_men, windy_maze
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import Env

CONFIGS = Path(__file__).parents[2] / "configs" / "env"
UP, DOWN, LEFT, RIGHT, USE = range(5)
BYTES = {"pac_men": 19, "pac_men_easy": 19, "windy_maze": 6, "firefighters": 13}
MODULES = {
    "pac_men": pac_men,
    "pac_men_easy": pac_men,
    "windy_maze": windy_maze,
    "firefighters": firefighters,
}


def make(name: str, **changes: object) -> Env:
    """An environment as its YAML file has it, but for ``changes``."""
    return envs.make(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) | changes)


def play(env: Env, policy: Callable, n: int) -> tuple[object, object]:
    """Plays ``policy(world, t, key) -> actions [N]`` in ``n`` worlds, to the end."""

    def one(key: jax.Array) -> tuple[object, object]:
        def body(world: object, t: jax.Array) -> tuple[object, object]:
            now = jax.random.fold_in(key, t)
            after, out = env.step(now, world, policy(world, t, now))
            return after, (out, after)

        start = env.reset(jax.random.fold_in(key, 1000))
        return jax.lax.scan(body, start, jnp.arange(env.spec.episode_limit))[1]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), n))


def script(*plans: list[int]) -> Callable:
    """A policy that plays one list of actions an agent, then uses what is there."""
    longest = max(map(len, plans)) + 1
    table = jnp.array([plan + [USE] * (longest - len(plan)) for plan in plans])
    return lambda world, t, key: table[:, jnp.minimum(t, longest - 1)]


def gatherers(targets: list[str]) -> Callable:
    """Agents that go to a room each and eat its dots, the nearest first."""
    side = {"top": (1, 9), "bottom": (14, 9), "left": (9, 1), "right": (9, 17)}
    goals = jnp.array([side[room] for room in targets])
    rooms = jnp.array(
        [pac_men.BOARD[tuple(pac_men.CELLS.T)] == room[0] for room in targets]
    )

    def towards(at: jax.Array, goal: jax.Array, first: jax.Array) -> jax.Array:
        """A move along one axis, then the other."""
        down, right = goal - at
        vertical = jnp.where(down < 0, UP, DOWN)
        sideways = jnp.where(right < 0, LEFT, RIGHT)
        by_row = jnp.where(down != 0, vertical, jnp.where(right != 0, sideways, USE))
        by_column = jnp.where(right != 0, sideways, jnp.where(down != 0, vertical, USE))
        return jnp.where(first == 0, by_row, by_column)

    def policy(world: pac_men.World, t: jax.Array, key: jax.Array) -> jax.Array:
        cells = jnp.array(pac_men.CELLS)
        far = jnp.abs(world.position[:, None] - cells).sum(-1)
        far = jnp.where(rooms & world.dots, far, 99)
        dot = cells[far.argmin(1)]
        inside = (rooms & (world.position[:, None] == cells).all(-1)).any(1)
        goal = jnp.where(inside[:, None], dot, goals)
        first = jnp.array([0 if room in ("top", "bottom") else 1 for room in targets])
        return jax.vmap(towards)(world.position, goal, first)

    return policy


def test_one_room_caps_at_its_dots_and_four_roles_do_not() -> None:
    """Pac-Men: together in the bottom room 5; a room each nearly all 20."""
    env = make("pac_men")
    out, _ = play(env, gatherers(["bottom"] * 4), 256)
    assert (out.reward.sum(1) == 5).all() and not out.won.any()
    out, _ = play(env, gatherers(["top", "bottom", "left", "right"]), 256)
    assert out.reward.sum(1).mean() > 19 and (out.reward.sum(1) <= 20).all()
    assert (out.reward.sum(1) == 20).any() and not out.won.any()


def test_easy_pac_men_needs_no_roles() -> None:
    """All dots are in the bottom room, where every agent can go."""
    env = make("pac_men_easy")
    assert env.spec.name == "pac_men_easy" and env.spec.max_return == 8
    out, _ = play(env, gatherers(["bottom"] * 4), 64)
    assert (out.reward.sum(1) == 8).all()
    out, _ = play(env, gatherers(["top", "left", "right", "top"]), 64)
    assert (out.reward.sum(1) == 0).all()


def test_the_bottom_room_is_the_nearest() -> None:
    """Random agents find it more often than all the others together."""
    env = make("pac_men")

    def policy(world: pac_men.World, t: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (4,), 0, 5)

    _, world = play(env, policy, 512)
    row, column = jnp.moveaxis(world.position[:, -1], -1, 0)
    bottom = (row >= 11) & (column >= 7) & (column <= 11)
    top, side = row <= 4, (column <= 4) | (column >= 14)
    assert bottom.mean() > top.mean() + side.mean() > 0.1


def test_dots_are_spread_evenly() -> None:
    """Every room has its dots, on random cells."""
    env = make("pac_men")
    worlds = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 500))
    mark = pac_men.BOARD[tuple(pac_men.CELLS.T)]
    for room in "tblr":
        assert (worlds.dots[:, mark == room].sum(1) == 5).all()
    np.testing.assert_allclose(worlds.dots.mean(0), 0.25, atol=0.1)


def test_the_right_box_alone_gives_one() -> None:
    """Windy Maze: both to the right 1; one each nearly 2; right then left never 2."""
    env = make("windy_maze")
    to_right = [UP] * 5 + [RIGHT] * 3
    out, _ = play(env, script(to_right, to_right), 2000)
    assert out.reward.sum(1).max() == 1 and out.reward.sum(1).mean() > 0.98

    def left(world: windy_maze.World, t: jax.Array, key: jax.Array) -> jax.Array:
        row, column = jnp.moveaxis(world.position, -1, 0)
        target = jnp.array([1, 7])
        side = jnp.where(column > target, LEFT, RIGHT)
        return jnp.where(row > 1, UP, jnp.where(column == target, USE, side))

    out, _ = play(env, left, 2000)
    # 0.855: the best that can be done for the left box, by dynamic programming.
    np.testing.assert_allclose(out.reward.sum(1).mean(), 0.998 + 0.855, atol=0.03)
    both = to_right + [USE] + [LEFT] * 6
    out, _ = play(make("windy_maze", wind=0.0), script(both, to_right), 1)
    assert out.reward.sum() == 1


def test_the_wind_blows_forty_percent_of_the_time() -> None:
    """From the stem's column on; not left of it and not in the stem."""
    env = make("windy_maze")
    key = jax.random.split(jax.random.key(2), 4000)
    step = jax.jit(jax.vmap(env.step, (0, None, None)))
    start = env.reset(key[0])
    for cell, moved in (((1, 4), 0.4), ((1, 6), 0.4), ((1, 3), 0.0), ((4, 4), 0.0)):
        world = start._replace(position=jnp.array([cell] * 2))
        after, _ = step(key, world, jnp.array([USE, USE]))
        blown = after.position[..., 1] == cell[1] + 1
        np.testing.assert_allclose(blown.mean(0), moved, atol=0.03)
        both = blown.all(1).mean()
        np.testing.assert_allclose(both, moved**2, atol=0.03)


def test_staying_at_the_first_fire_caps_at_four() -> None:
    """Firefighters: four units of water; with pumping and two areas all twelve."""
    env = make("firefighters")
    spray, pump = 4, 5
    near = [spray, LEFT, spray, UP, spray, RIGHT, spray, RIGHT, spray, DOWN, spray]
    out, world = play(env, script(near, [spray], [RIGHT, spray], [UP, spray]), 1)
    assert out.reward.sum() == 4 and world.tank[0, -1] == 0
    # The fourth unit is kept for the second area, whither one needs eight steps.
    near = [spray, LEFT, spray, UP, spray, RIGHT, *[pump] * 4]
    near += [spray, RIGHT, spray, DOWN, spray]
    sweep = [spray, RIGHT, spray, RIGHT, spray, DOWN, spray, LEFT, spray, LEFT, spray]
    far = [DOWN] * 6 + [RIGHT] * 2 + sweep
    east = [RIGHT] * 9 + [pump] * 11
    south = [DOWN] * 9 + [pump] * 11
    out, world = play(env, script(near, far, east, south), 1)
    assert out.reward.sum() == 12 and not out.won.any()
    assert world.tank[0, -1] == 4 + 22 - 12


def test_help_is_far_from_the_first_fire() -> None:
    """Firefighters: steps from the start to the rivers and to the second area."""
    start = firefighters.SCENE.start
    steps = abs(firefighters.RIVERS - start).sum(1)
    assert steps.min() == 9
    near = abs(firefighters.FIRES - start).sum(1) <= 3
    assert near.sum() == 6
    assert abs(firefighters.FIRES[~near] - start).sum(1).min() == 8


def test_one_unit_of_water_puts_out_one_fire() -> None:
    """Agents that spray the same cell waste nothing; an empty tank does nothing."""
    env = make("firefighters", water=1)
    world = env.reset(jax.random.key(0))
    world, _ = env.step(jax.random.key(0), world, jnp.array([4, 4, RIGHT, RIGHT]))
    assert world.tank == 0 and world.fires.sum() == 11
    world, _ = env.step(jax.random.key(0), world, jnp.array([5, 4, 4, 4]))
    assert world.tank == 0 and world.fires.sum() == 11


@pytest.mark.parametrize("name", BYTES)
def test_protocol(name: str) -> None:
    """Reward only at the end, which terminates; worlds survive packing."""
    env, module = make(name), MODULES[name]

    def policy(world: object, t: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (env.spec.n_agents,), 0, env.spec.n_actions)

    out, world = play(env, policy, 64)
    assert (out.reward[:, :-1] == 0).all()
    assert out.terminated[:, -1].all() and not out.terminated[:, :-1].any()
    assert not out.truncated.any()
    packed = jax.vmap(jax.vmap(env.pack))(world)
    size = sum(leaf[0, 0].nbytes for leaf in jax.tree.leaves(packed))
    assert size == BYTES[name]
    seen = jax.jit(jax.vmap(jax.vmap(env.observe)))(world)
    back = jax.vmap(jax.vmap(env.unpack))(packed)
    again = jax.jit(jax.vmap(jax.vmap(env.observe)))(back)
    pairs = zip(*map(jax.tree.leaves, ((seen, world), (again, back))), strict=True)
    for a, b in pairs:
        assert a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert seen.obs.shape[2:] == (env.spec.n_agents, env.spec.obs_dim)
    assert seen.state.shape[2:] == (env.spec.state_dim,)
    assert seen.obs.min() == 0 and seen.obs.max() == 1 and seen.avail.all()
    assert seen.state.min() >= 0 and seen.state.max() == 1
    last = jax.tree.map(lambda leaf: leaf[0, -1], world)
    drawn = module.image(last, cell=10)
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
    lines = module.text(last).splitlines()
    assert drawn.shape[:2] == (10 * len(lines), 10 * len(lines[0]))


def test_views_are_centred_on_the_agent() -> None:
    """At the start of Firefighters: own fires, no river, three others on the cell.

    Agents see nothing else there; on the other boards they see their place.
    """
    env = make("firefighters")
    seen = env.observe(env.reset(jax.random.key(0))).obs
    wall, fire, river, others = seen[0].reshape(4, 5, 5)
    assert wall.sum() == 0 and river.sum() == 0
    assert fire.sum() == 6 and fire[1:3, 1:4].all()
    assert others[2, 2] == 1 and others.sum() == 1
    assert (seen == seen[0]).all()
    env = make("pac_men")
    seen = env.observe(env.reset(jax.random.key(0))).obs
    where = pac_men.SCENE.start / (np.array(pac_men.SCENE.board.shape) - 1)
    np.testing.assert_allclose(seen, np.tile(seen[0], (4, 1)))
    np.testing.assert_allclose(seen[0, -2:], where, rtol=1e-6)


def test_text() -> None:
    """Windy Maze at the start, as text."""
    env = make("windy_maze")
    assert windy_maze.text(env.reset(jax.random.key(0))).splitlines() == [
        "#########",
        "#B..|||B#",
        *["####.####"] * 4,
        "####*####",
        "#########",
    ]


@pytest.mark.parametrize(
    "name,changes,words",
    [
        ("pac_men", {"dots": 21}, ["env.dots", "21", "1 to 20"]),
        ("pac_men", {"rooms": []}, ["env.rooms", "bottom"]),
        ("pac_men", {"rooms": ["cellar"]}, ["env.rooms", "cellar", "bottom"]),
        ("pac_men_easy", {"horizon": 256}, ["env.horizon", "256", "255"]),
        ("windy_maze", {"wind": 1.4}, ["env.wind", "1.4", "less than or equal to 1"]),
        ("firefighters", {"water": -1}, ["env.water", "-1"]),
        ("firefighters", {"watr": 1}, ["env.watr", "did you mean 'water'"]),
    ],
)
def test_bad_input_is_refused(name: str, changes: dict, words: list[str]) -> None:
    """Messages name the key, what was got and what is allowed."""
    with pytest.raises(ConfigError) as error:
        make(name, **changes)
    for word in words:
        assert word in str(error.value)
