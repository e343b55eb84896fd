"""What the page of a run shows of episodes, and the script that shows it."""

import base64
import json
import re
import shutil
import subprocess
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import run_config, small_algo

import envs
from envs.picture import palette
from experiments import configure, report
from experiments.shows import choose
from rolemarl_jax.config import build
from rolemarl_jax.learners import make_learner
from rolemarl_jax.report import summary
from rolemarl_jax.report.page import player
from rolemarl_jax.report.page.episode import Episode, Panel, Roles, Show, Space
from rolemarl_jax.report.page.spaces import matched, spaces
from rolemarl_jax.roles import roma
from rolemarl_jax.run.shows import make_show
from rolemarl_jax.sweep.train import train_compiled

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox")


def read(kept):
    """The other side of ``player.packed``."""
    data = base64.b64decode(kept["data"])
    if "step" not in kept:
        return np.frombuffer(data, "<i2").reshape(kept["shape"])
    codes = np.frombuffer(data, "<u2").reshape(kept["shape"])
    values = kept["low"] + kept["step"] * codes.astype(float)
    return np.where(codes == player.NO_NUMBER, np.nan, values)


def test_packed_numbers_come_back():
    whole = np.array([[-1, 0], [7, 30000]])
    np.testing.assert_array_equal(read(player.packed(whole)), whole)
    np.testing.assert_array_equal(read(player.packed(whole > 0)), whole > 0)
    floats = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    floats[1, 2] = np.nan
    np.testing.assert_allclose(read(player.packed(floats)), floats, atol=1e-4)
    for flat in (np.zeros((2, 2)), np.full(3, np.nan)):
        np.testing.assert_array_equal(read(player.packed(flat)), flat)


def test_clusters_keep_their_numbers():
    """Whatever K-means calls them, whoever moves between them, and who dies."""
    rng, steps = np.random.default_rng(1), 30
    centres = np.array([[0.0, 0], [5, 0], [0, 5]])
    truth = np.tile([0, 1, 2, 0, 1], (steps, 1))
    truth[10:, 3] = 2
    points = centres[truth] + rng.normal(size=(steps, 5, 2)) * 0.2
    points += np.linspace(0, 8, steps)[:, None, None]
    alive = np.ones((steps, 5), bool)
    alive[20:, 4] = False
    names = np.stack([rng.permutation(3) for _ in range(steps)])
    found = matched(np.take_along_axis(names, truth, 1), points, alive)
    table = dict(zip(truth[0], found[0], strict=True))
    assert len(set(table.values())) == 3
    np.testing.assert_array_equal(found, np.vectorize(table.get)(truth))


def test_roles_that_are_all_one_have_no_neighbours():
    """Of equal points t-SNE would crash."""
    found = spaces(np.ones((20, 3, 6)), np.ones((20, 3), bool))
    assert [one.name for one in found] == ["PCA"] and np.isfinite(found[0].at).all()


@pytest.mark.parametrize("size", [2, 3, 6])
def test_spaces_leave_out_the_dead(size):
    role = np.random.default_rng(2).normal(size=(20, 3, size))
    role[..., 0] *= 9
    alive = np.ones((20, 3), bool)
    alive[12:, 1] = False
    found = spaces(role, alive)
    assert len(found) == {2: 1, 3: 4, 6: 2}[size]
    for one in found:
        np.testing.assert_array_equal(np.isfinite(one.at).all(-1), alive)
        for axis, ends in enumerate(one.ends):
            values = one.at[..., axis][alive]
            np.testing.assert_allclose(ends, (values.min(), values.max()), rtol=1e-5)
    first = found[0].at[alive]
    if size < 6:
        np.testing.assert_allclose(first, role[alive][:, :2], rtol=1e-5)
    else:
        along = np.corrcoef(first[:, 0], role[alive][:, 0])[0, 1]
        assert abs(along) > 0.99 and found[0].axes[0].startswith("PC 1 (9")


def test_of_a_sweep_the_best_combination_is_shown(tmp_path, monkeypatch):
    cfg = run_config(small_algo("iql"), 3, {"run_dir": str(tmp_path)})
    cfg = replace(cfg, sweep=replace(cfg.sweep, hypers={"lr": (1e-3, 2e-3)}))
    monkeypatch.setattr(choose.rundir, "folders", lambda path: [path])
    monkeypatch.setattr(choose.rundir, "load_config", lambda path: cfg)
    at = [{"final": {"win_rate": rate, "return": 1.0}} for rate in (0.5, 0.9, 0.1)]
    told = {"rank": 1, "hypers": {"lr": 2e-3}, "seeds": 3, "frozen": 0}
    told |= {"last_three": {}, "per_seed": dict(zip("012", at, strict=True))}
    found = summary.parsed({"ranking": [told]})
    monkeypatch.setattr(choose.summary, "read", lambda path: found)
    named = [(one.index, one.title) for one in choose.chosen(tmp_path, None)]
    # Members are seeds with each of their combinations.
    assert named == [
        (3, "seed 1 lr=0.002 (best)"),
        (1, "seed 0 lr=0.002 (median)"),
        (5, "seed 2 lr=0.002 (worst)"),
    ]
    assert [one.index for one in choose.chosen(tmp_path, 2)] == [5]


@pytest.mark.parametrize(
    "name", ["eoi_grid", pytest.param("roma", marks=pytest.mark.slow)]
)
def test_what_is_shown_is_what_was_played(name):
    cfg = configure("env=windy_maze")
    env, algo = envs.make_compiled(cfg.env), small_algo(name)
    learner = make_learner(algo, env.spec)
    state, n = learner.init(jax.random.key(0)), env.spec.n_agents
    shown = make_show(algo, env, learner, 2)(state, 5)
    assert shown.action.shape == (env.spec.episode_limit, 2, n)
    np.testing.assert_array_equal(shown.length, env.spec.episode_limit)
    module = envs.module_of(cfg.env)
    episode = jax.tree.map(lambda leaf: leaf[:, 1], shown.worlds)
    drawn = module.sketch(build(module.Config, cfg.env, "env"), episode)
    assert drawn["units"]["at"].shape == (env.spec.episode_limit + 1, n, 2)
    np.testing.assert_array_equal(episode.step, range(env.spec.episode_limit + 1))
    matrix = shown.findings[0].values
    assert matrix.shape == (env.spec.episode_limit, 2, 1, n, n)
    if name == "roma":
        assert shown.clusters.labels.shape == shown.action.shape
        assert shown.findings[0].title == "Dissimilarity"
        nets = roma.make_setup(build(roma.Config, algo["role"], "algo.role"), env.spec)
        one, other = jnp.moveaxis(shown.feats["role"], 2, 0)
        pair = jnp.concatenate([one, other], -1)[:, :, None, None]
        params = state.params["dissimilarity"]
        away = jnp.abs(nets.nets.dissimilarity.apply(params, pair))[:, :, 0, 0, 0]
        np.testing.assert_allclose(matrix[:, :, 0, 0, 1], away, atol=1e-5)
    else:
        np.testing.assert_allclose(matrix.sum(-1), 1, rtol=1e-5)
        own = np.diagonal(matrix[:, :, 0], axis1=-2, axis2=-1)
        np.testing.assert_allclose(shown.findings[1].values, own - 1 / n, atol=1e-6)


def episode(title="an episode", steps=9, n=3, roles=True):
    """One that was made up, of a battle."""
    rng, units = np.random.default_rng(3), n + 2
    shape = (steps + 1, units)
    sketch = {
        "view": [0, 0, 8, 8],
        "ground": [{"name": "rock", "colour": (52, 58, 64), "boxes": [[0, 0, 2, 1]]}],
        "kinds": [{"name": "zealot", "short": "Z", "reach": 2.0, "splash": 0.0}],
        "units": {
            "team": (np.arange(units) >= n).astype(int),
            "kind": np.zeros(units, int),
            "at": rng.uniform(1, 7, (*shape, 2)),
            "radius": np.full(shape, 0.4),
            "alive": np.ones(shape, bool),
            "deed": np.ones(shape, int),
            "target": np.full(shape, units - 1),
        },
        "bars": {"health": np.linspace(1, 0.1, shape[0])[:, None].repeat(units, 1)},
        "deeds": ["none", "shot"],
        "actions": ["stop", "go"],
        "colours": {"roles": palette.ROLES, "enemy": palette.ENEMY},
    }
    space = Space(
        "PCA", ("PC 1", "PC 2"), rng.normal(size=(steps, n, 2)), ((-3, 3), (-3, 3))
    )
    labels = rng.integers(0, 2, (steps, n))
    matrices = rng.uniform(size=(steps, 2, n, n))
    panels = (
        Panel("Reward", "Of the team.", ("team",), rng.normal(size=(steps, 1))),
        Panel("Attention", "Who.", ("head 1", "head 2"), matrices),
    )
    own = Roles((space, space), labels, 2) if roles else None
    return Episode(title, sketch, labels, own, panels)


def test_the_section_holds_all_that_it_shows(monkeypatch):
    text = player.section(Show((episode("a </script> title"),), "See."))
    assert not re.search(r"https?:|//cdn|@import|\bsrc=", text)
    inside = re.search(r'type="application/json">(.*?)</script>', text, re.S)[1]
    stored = json.loads(inside)[0]
    assert stored["title"] == "a </script> title"
    made = episode()
    np.testing.assert_array_equal(read(stored["action"]), made.action)
    at = read(stored["sketch"]["units"]["at"])
    np.testing.assert_allclose(at, made.sketch["units"]["at"], atol=1e-3)
    np.testing.assert_array_equal(read(stored["roles"]["labels"]), made.roles.labels)
    monkeypatch.setattr(player, "MOST_BYTES", int(2.5 * len(inside)))
    many = player.section(Show((episode(),) * 4, "See."))
    assert many.count('"title":"an episode"') == 2 and "2 more would make" in many
    assert "<script" not in player.section(Show((), "None, because."))


@pytest.mark.parametrize("name", [*player.SCRIPTS, "theme.js"])
def test_scripts_are_valid(name, tmp_path):
    if not shutil.which("node"):
        pytest.skip("needs node")
    file = tmp_path / name
    file.write_text(player.asset(name))
    assert subprocess.run(["node", "--check", file]).returncode == 0


PROBE = """
<script>
const get = (id) => document.getElementById(id);
const all = (what) => [...document.querySelectorAll(`#panels ${what}`)];
const look = () => all('canvas').map((canvas) => canvas.toDataURL());
const told = { titles: all('h3').map((head) => head.textContent) };
const tell = (id, event) => get(id).dispatchEvent(new Event(event));
const set = (step) => { get('step').value = step; tell('step', 'input'); };
const press = (key) => document.dispatchEvent(new KeyboardEvent('keydown', { key }));
set(0);
const before = look();
set(5);
told.clock = get('clock').textContent;
told.moved = look().map((picture, i) => picture !== before[i]);
press('ArrowRight');
told.right = get('clock').textContent;
press('Home');
told.back = look().map((picture, i) => picture === before[i]);
press(' ');
told.playing = get('play').textContent;
press(' ');
get('theme').click();
told.themed = look().map((picture, i) => picture !== before[i]);
told.theme = document.documentElement.dataset.theme;
get('choice').value = 1;
tell('choice', 'change');
told.plain = all('section').length;
document.body.dataset.told = JSON.stringify(told);
</script></body>
"""


@pytest.mark.slow
def test_the_player_in_a_browser(tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser or "firefox" in browser:
        pytest.skip("needs Chromium on the PATH")
    show = Show((episode(), episode("plain", roles=False)), "See.")
    file = tmp_path / "page.html"
    section = player.section(show)
    css, theme = player.asset("page.css"), player.asset("theme.js")
    head = f"<!doctype html><html><head><style>{css}</style></head>"
    file.write_text(f"{head}<body><script>{theme}</script>{section}{PROBE}</html>")
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    words += ["--enable-logging=stderr", "--window-size=1100,2000", file.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'data-told="(.*?)"', done.stdout)[1].replace("&quot;", '"')
    told = json.loads(found)
    assert len(told["titles"]) == len(told["moved"]) == 5
    assert all(told["moved"]) and all(told["back"]) and all(told["themed"])
    assert told["clock"] == "step 5 of 9" and told["right"] == "step 6 of 9"
    assert told["playing"] == "Pause" and told["theme"] == "dark"
    assert told["plain"] == 4


@pytest.mark.slow
def test_a_page_and_a_film_of_a_trained_run(tmp_path, capsys):
    from experiments import render

    sizes = ["replay.episodes=20", "total_steps=2000", "log_every=500"]
    times = ["eval.every=1000", "checkpoint.every=1000"]
    asked = ["algo=roma", "env=windy_maze", "run=debug", "seeds=3", *sizes, *times]
    cfg = configure(*asked, f"run_dir={tmp_path}/run")
    env = envs.make_compiled(cfg.env)
    train_compiled(cfg, env, make_learner(cfg.algo, env.spec))
    began = time.monotonic()
    report.main([f"run_dir={tmp_path}/run", "episodes=2"])
    page = (tmp_path / "run" / "report.html").read_text()
    print(f"{time.monotonic() - began:.0f} s for a page of {len(page):,} characters")
    assert len(page) < 10_000_000 and not re.search(r"https?://", page)
    titles = re.findall(r'"title":"(seed [^"]*)"', page)
    assert [title.split()[2][:-1] for title in titles] == [
        *["(best)"] * 2,
        *["(median)"] * 2,
        *["(worst)"] * 2,
    ]
    render.main([f"run_dir={tmp_path}/run", "seed=1", "episode=2"])
    assert (tmp_path / "run" / "film.gif").stat().st_size > 1000
    assert "seed 1, episode 2" in capsys.readouterr().out
    for wrong in (["seed=7"], ["size=1"], ["out=a.avi"], ["episode=0"]):
        with pytest.raises(SystemExit) as stop:
            render.main([f"run_dir={tmp_path}/run", *wrong])
        assert stop.value.code == 2
