"""What is drawn of worlds is what their states hold; colours can be told apart."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import envs
from envs.battle.deeds import NAMES
from envs.picture import film, palette
from experiments import configure
from rolemarl_jax.config import ConfigError, build

STEPS = 12
# What protanopes, deuteranopes and tritanopes see of linear RGB (Machado 2009).
SEEN = (
    np.eye(3),
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
)


def played(*asked):
    """A world's module, its record, and an episode's worlds `[T, ...]` at random."""
    values = configure(*asked).env
    module, env = envs.module_of(values), envs.make_compiled(values)
    cfg = build(module.Config, values, "env")

    def step(world, key):
        avail = env.observe(world).avail
        action = jax.random.categorical(key, jnp.where(avail, 0.0, -jnp.inf))
        after = env.step(key, world, action)[0]
        return after, after

    start = env.reset(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), STEPS)
    _, worlds = jax.jit(lambda w: jax.lax.scan(step, w, keys))(start)
    whole = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, worlds)
    return module, cfg, env, jax.tree.map(np.asarray, whole)


@pytest.mark.parametrize(
    "backend", ["fast", pytest.param("jaxmarl", marks=pytest.mark.slow)]
)
def test_sketches_of_battles(backend):
    module, cfg, env, worlds = played(
        "env=smax", "env.map=3m", f"env.backend={backend}"
    )
    drawn = module.sketch(cfg, worlds)
    units = drawn["units"]
    bodies = jax.jit(jax.vmap(env.bodies))(worlds)
    np.testing.assert_array_equal(units["alive"][:, :3], bodies.alive)
    place = np.clip(units["at"][:, :3] / 32, 0, 1)
    np.testing.assert_allclose(place, bodies.place, rtol=1e-6)
    names = [drawn["kinds"][kind]["name"] for kind in units["kind"][:3]]
    assert names == [env.spec.kinds[kind] for kind in bodies.kind[0]]
    assert drawn["bars"]["health"].shape == (STEPS + 1, 6)
    assert (drawn["bars"]["health"][0] == 1).all()
    x, y, width, height = drawn["view"]
    inside = (units["at"] >= [x, y]) & (units["at"] <= [x + width, y + height])
    assert inside.all() and len(drawn["actions"]) == env.spec.n_actions
    aimed = units["target"] >= 0
    teams = np.broadcast_to(units["team"], aimed.shape)
    assert aimed.any() and (units["target"][0] == -1).all()
    assert (teams[aimed] != units["team"][units["target"][aimed]]).all()
    shots = units["deed"] == NAMES.index("shot")
    assert shots.any() and (aimed | ~shots).all()
    hurt = np.diff(drawn["bars"]["health"], axis=0) < 0
    for t, unit in np.argwhere(hurt):
        assert (units["target"][t + 1] == unit).any()


@pytest.mark.parametrize(
    ("name", "field", "thing"),
    [
        ("pac_men", "dots", "dot"),
        ("windy_maze", "closed", "closed box"),
        ("firefighters", "fires", "fire"),
    ],
)
def test_sketches_of_grids(name, field, thing):
    module, cfg, env, worlds = played(f"env={name}")
    drawn = module.sketch(cfg, worlds)
    things, height = drawn["things"], drawn["view"][3]
    shown = (things["which"] == things["names"].index(thing)).sum(1)
    np.testing.assert_array_equal(shown, getattr(worlds, field).sum(1))
    alone = drawn["units"]["radius"] > 0.25
    cells = np.stack(
        [worlds.position[..., 1], height - 1 - worlds.position[..., 0]], -1
    )
    assert alone.any()
    at = drawn["units"]["at"]
    np.testing.assert_array_equal(np.floor(at).astype(int), cells)
    np.testing.assert_allclose(at[alone], cells[alone] + 0.5)
    for ground in drawn["ground"]:
        for x, y, width, _ in ground["boxes"]:
            on = [(module.BOARD[int(height) - 1 - y, x + i]) for i in range(width)]
            assert set(on) == {{"wall": "#", "wind": "|"}[ground["name"]]}
    assert len(drawn["actions"]) == env.spec.n_actions
    if name == "firefighters":
        np.testing.assert_array_equal(drawn["counters"]["tank"], worlds.tank)


@pytest.mark.parametrize("name", ["pac_men_easy", "smax"])
def test_films_show_roles(name):
    module, cfg, env, worlds = played(f"env={name}")
    few = jax.tree.map(lambda leaf: leaf[:3], worlds)
    roles = np.full((3, env.spec.n_agents), 3)
    pictures = module.film(cfg, few, roles, size=300)
    assert len(pictures) == 3 and all(p.shape[1] in range(280, 301) for p in pictures)
    counted = [
        [(np.abs(p.astype(int) - colour).max(-1) < 8).sum() for colour in palette.ROLES]
        for p in pictures
    ]
    assert (np.array(counted)[:, 3] > 20).all()
    assert (np.array(counted)[:, :3].sum() == 0).all()


def test_colours_can_be_told_apart():
    """By everybody; the least distances are in CIELAB, where 2 can just be seen."""
    for matrix in SEEN:
        seen = [lab(matrix, colour) for colour in (*palette.ROLES, palette.ENEMY)]
        apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        enemy = [np.linalg.norm(seen[-1] - role) for role in seen[:-1]]
        assert min(apart) > 10 and min(enemy) > 20


def lab(matrix, colour):
    part = np.array(colour) / 255
    low, high = part / 12.92, ((part + 0.055) / 1.055) ** 2.4
    linear = np.clip(np.array(matrix) @ np.where(part <= 0.04045, low, high), 0, 1)
    to_xyz = [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_legends_name_every_colour(tmp_path):
    blank = [np.full((50, 120, 3), 255, np.uint8)] * 2
    entries = [(f"role {i}", palette.role(i)) for i in range(3)]
    shown = film.with_legend(blank, entries)
    for _, colour in entries:
        assert (shown[0][50:] == colour).all(-1).sum() > 100
    film.write(tmp_path / "film.gif", shown)
    with Image.open(tmp_path / "film.gif") as stored:
        assert stored.size == shown[0].shape[1::-1]


def test_films_are_encoded_where_there_is_an_encoder(tmp_path, monkeypatch):
    out = tmp_path / "film.mp4"
    monkeypatch.setattr(film, "encoder", lambda: None)
    with pytest.raises(ConfigError, match="imageio-ffmpeg"):
        film.write(out, [])
    with pytest.raises(ConfigError, match=r"\.gif or \.mp4"):
        film.require_codec(tmp_path / "film.avi")
    code = "import sys; open(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())"
    fake = tmp_path / "ffmpeg"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(film, "encoder", lambda: str(fake))
    film.write(out, [np.zeros((5, 7, 3), np.uint8)] * 2)
    assert out.stat().st_size == 6 * 8 * 3 * (1 + film.LAST)
