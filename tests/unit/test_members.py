"""Combinations of hyper-parameters: who is a member, what is refused, who is best."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import ALGOS, SPEC, load_algo, run_config, small_algo

from experiments.door import compose, resume
from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program import swept
from rolemarl_jax.report import findings, loggers, page, plotting, ranking, summary
from rolemarl_jax.sweep import fit as sweep

SWEPT = {"lr": (3e-4, 6e-4), "gamma": (0.9, 0.95, 0.99)}


def config(hypers=SWEPT, seeds=2, seed=5):
    cfg = run_config(small_algo("qmix"), seeds, {"seed": seed})
    return replace(cfg, sweep=replace(cfg.sweep, hypers=hypers))


def test_members_are_seeds_with_every_combination():
    cfg = config()
    found = members.members(cfg)
    assert members.count(cfg) == len(found) == 12
    assert [one.seed for one in found] == [5] * 6 + [6] * 6
    assert found[0].hypers == found[6].hypers == {"lr": 3e-4, "gamma": 0.9}
    assert found[4].hypers == {"lr": 6e-4, "gamma": 0.95}
    ids, hypers = members.arrays(cfg, 14)
    assert ids[-2:].tolist() == [7, 7], "the surplus goes on with further seeds"
    np.testing.assert_array_equal(hypers["lr"][:6], np.float32([3e-4] * 3 + [6e-4] * 3))
    assert [one.hypers for one in members.members(config({}))] == [{}, {}]


def test_names_of_combinations_tell_them_apart():
    assert members.text({"lr": 3e-4, "gamma": 0.99}) == "lr=0.0003 gamma=0.99"
    assert members.number(0.12345678) == "0.12345678"
    row = members.columns({"lr": 3e-4}) | {"seed": 1}
    assert row == {"hyper/lr": 3e-4, "seed": 1}
    assert members.of_row(row) == {"lr": 3e-4}


@pytest.mark.parametrize(
    ("hypers", "told"),
    [
        ({"gama": (0.9,)}, r"sweep\.hypers\.gama: algo=qmix .* did you mean 'gamma'"),
        ({"lr": ()}, r"sweep\.hypers\.lr: got \[\]; allowed: one or more"),
        ({"lr": (1e-3, 1e-3)}, "each number once"),
        ({"lr": (1e-3, 1.00000000001e-3)}, "each number once"),
    ],
)
def test_refused(hypers, told):
    known = make_learner(small_algo("qmix"), SPEC).hypers
    assert {"lr", "gamma", "weight_td"} <= set(known)
    with pytest.raises(ConfigError, match=told):
        members.check(config(hypers), known)


@pytest.mark.parametrize(
    ("algo", "name", "value", "key"),
    [
        ("qmix", "gamma", 5.0, "algo.gamma"),
        ("qmix", "lr", -1e-3, "algo.lr"),
        ("qmix", "weight_td", -1.0, "algo.loss_scales.td"),
        ("qmix", "tau", 2.0, "algo.target.tau"),
        ("pqn_qmix", "tau", 2.0, "algo.slow_target"),
        ("mappo", "clip", -1.0, "algo.clip"),
        ("acorm", "role_lr", -1.0, "algo.role.role_lr"),
        ("r3dm", "world_lr", -1.0, "algo.role.world.lr"),
        ("eoi_maac", "classifier_lr", -1.0, "algo.shaping.lr"),
    ],
)
def test_values_are_held_to_the_bounds_of_their_keys(algo, name, value, key):
    cfg = replace(config({name: (0.5, value)}), algo=load_algo(algo))
    learner = make_learner(cfg.algo, SPEC)
    told = rf"^sweep\.hypers\.{name}: got {value}; input should be .*\(as {key}\)$"
    with pytest.raises(ConfigError, match=told):
        swept.check(cfg, learner)
    swept.check(replace(cfg, sweep=replace(cfg.sweep, hypers={name: (0.5,)})), learner)


@pytest.mark.parametrize(
    "algo",
    [pytest.param(x, marks=pytest.mark.slow) for x in ALGOS if x != "r3dm"] + ["r3dm"],
)
def test_every_hyper_parameter_is_known_by_its_key(algo):
    values = load_algo(algo)
    for name in make_learner(values, SPEC).hypers:
        assert any(swept._has(values, key) for key in swept.keys(name)), name


@pytest.mark.parametrize(
    "asked",
    [
        ["sweep.hypers.lr=[3e-4,6e-4]", "sweep.hypers.gamma=[1]"],
        ["sweep.hypers={lr:[3e-4,6e-4],gamma:[1]}"],
    ],
)
def test_command_line(asked, tmp_path):
    typed = [f"run_dir={tmp_path}/a", "algo=qmix", *asked]
    cfg = resume.resolve(compose.composed(typed))
    assert cfg.sweep.hypers == {"lr": (3e-4, 6e-4), "gamma": (1.0,)}
    rundir.create(cfg)
    assert rundir.load_config(cfg.run_dir) == cfg
    again = ["resume=true", *typed]
    assert resume.resolve(compose.composed(again)).sweep.hypers == cfg.sweep.hypers
    with pytest.raises(ConfigError, match=r"sweep\.hypers\.alpha: stored None"):
        resume.resolve(compose.composed([*again, "sweep.hypers.alpha=[1]"]))


def test_multirun_is_told_of_new_names():
    given = ["-m", "algo=qmix,vdn", "sweep.hypers.lr=[1]", "++sweep.hypers.tau=[1]"]
    marked = [*given[:2], "++sweep.hypers.lr=[1]", given[3]]
    assert compose.opened(given) == marked
    compose.check(given[1:], sweep=True)


@pytest.mark.parametrize("value", ["0.1", "[a]", "[true]", "[[1]]"])
def test_values_have_to_be_numbers(value, tmp_path):
    typed = [f"run_dir={tmp_path}/a", "algo=qmix", f"sweep.hypers.lr={value}"]
    with pytest.raises(ConfigError, match=r"sweep\.hypers\.lr"):
        resume.resolve(compose.composed(typed))


def test_plans_count_members(monkeypatch):
    """A chunk is as many whole seeds as there is memory for all their combinations."""
    asked = []

    def peak(cfg, *_):
        asked.append((cfg.seeds, cfg.sweep.hypers))
        return 1000 + 10 * cfg.seeds

    monkeypatch.setattr(sweep, "_peak", peak)
    cfg = config(seeds=40)

    def plan(**changes):
        own = replace(cfg.sweep, device_memory="2000", fraction=1.0, **changes)
        return sweep.make_plan(replace(cfg, sweep=own), None, None)

    found = plan()
    assert asked == [(2, {}), (4, {})]
    # 100 members fit, that is 16 seeds with 6 combinations: three chunks of 14.
    assert (found.fixed, found.seed, found.chunks, found.chunk) == (1000, 60, 3, 14)
    with pytest.raises(ConfigError, match=r"up to 16 seeds .* with 6 combinations"):
        plan(chunk=17)
    own = replace(cfg.sweep, device_memory="2000", fraction=1.0)
    for hypers, needed in ((SWEPT, True), ({}, False)):
        swept = replace(cfg, sweep=replace(own, hypers=hypers))
        assert sweep.needs_plan(swept, 10) is needed


def test_plans_count_what_each_core_works_with(monkeypatch):
    """Cores are devices that share a memory; cards have one each."""
    monkeypatch.setattr(sweep, "_peak", lambda cfg, *_: 1000 + 10 * cfg.seeds)
    monkeypatch.setattr(sweep, "_memory", lambda cfg: 5000)
    cfg = config(hypers={}, seeds=4800)
    cfg = replace(cfg, sweep=replace(cfg.sweep, fraction=1.0, device_memory=None))

    def chunk(platform, count):
        devices = [SimpleNamespace(platform=platform)] * count
        monkeypatch.setattr(sweep.jax, "devices", lambda: devices)
        return sweep.make_plan(cfg, None, None).chunk

    assert [chunk("cpu", n) for n in (1, 4)] == [400, 100]
    assert [chunk("gpu", n) for n in (1, 4)] == [400, 1600]


def rows():
    """Two seeds with two rates, the higher one better; one member diverges."""
    made = []
    for lr, level in ((1e-3, 0.25), (1e-2, 0.5)):
        for seed in (0, 1):
            for step in (10, 20, 30, 40):
                row = {"seed": seed, "hyper/lr": lr, "env_steps": step}
                row |= {"split": "test", "stage": "train", "updates": step}
                row |= {"return": level + seed, "win_rate": level if step > 10 else 0}
                made.append(row)
    made[-1]["frozen_at"] = 32
    return made


def swept_summary():
    cfg = config({"lr": (1e-3, 1e-2)}, seed=0)
    return findings.summarise(cfg, rows(), {})


def test_summary_by_combination():
    made = swept_summary()
    assert json.loads(json.dumps(made))["hypers"] == {"lr": [1e-3, 1e-2]}
    assert (made["seeds"], "per_seed" in made) == (2, False)
    first, second = made["ranking"]
    assert (first["rank"], first["hypers"], first["frozen"]) == (1, {"lr": 1e-2}, 1)
    assert (second["rank"], second["hypers"], second["frozen"]) == (2, {"lr": 1e-3}, 0)
    assert first["last_three"]["win_rate"]["iqm"] == 0.5
    assert first["last_three"]["return"] == {"iqm": 1.0, "low": 0.5, "high": 1.5}
    assert second["per_seed"]["1"]["final"]["return"] == 1.25
    assert made["last_three"]["win_rate"]["iqm"] == 0.375
    assert made["frozen"] == [{"seed": 1, "hypers": {"lr": 1e-2}, "frozen_at": 32}]
    told = ranking.frozen(summary.parsed(made).frozen)
    assert told == "1 diverged: seed 1 lr=0.01 at 32 env steps"


def test_unknown_win_rates_rank_last():
    def record(win, score):
        means = {"win_rate": {"iqm": win}, "return": {"iqm": score}}
        return {"last_three": means, "name": (win, score)}

    given = [record(None, 9.0), record(0.5, 1.0), record(0.5, 2.0), record(0.75, 0.0)]
    order = [one["name"] for one in findings.ranked(given)]
    assert order == [(0.75, 0.0), (0.5, 2.0), (0.5, 1.0), (None, 9.0)]


def test_ranking_is_written_and_reported(tmp_path):
    made = {**swept_summary(), "map": "3m"}
    text = ranking.write(tmp_path, summary.parsed(made)).read_text()
    line = (
        "|    1 |  0.01 | 0.500 [0.500, 0.500] | 1.00 [0.50, 1.50] |     2 |      1 |"
    )
    assert line in text
    assert len({len(row) for row in text.splitlines() if row.startswith("|")}) == 1
    cfg = replace(config(), run_dir=str(tmp_path))
    rundir.create(cfg)
    summary.write(tmp_path, made)
    html = page.html(tmp_path)
    assert "<h2>Ranking</h2>" in html and "0.500 [0.500, 0.500]" in html


def test_curves_and_means_by_combination(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        plotting, "_draw", lambda axes, runs, *_, **__: drawn.update(runs)
    )
    plotting.curves({"qmix": rows()}, tmp_path / "a.png")
    assert list(drawn) == ["qmix lr=0.001", "qmix lr=0.01"]
    means = dict(loggers._means(rows()))[40]
    assert means["lr=0.01/test/return"] == 1.0 and means["lr=0.001/test/return"] == 0.75
    assert not any("frozen_at" in name or "hyper/" in name for name in means)
