"""What greedy episodes found, as a record, a file and lines for people."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support import run_config, small_algo

from experiments import evaluate
from experiments.door import cli, compose, resume
from rolemarl_jax.config import ConfigError
from rolemarl_jax.report import evaluation, names, stats
from rolemarl_jax.report.evaluation import Asked, Outcomes

ASKED = Asked(seed=7, policy="greedy", world="probe", env={})


def config(seeds, seed=0, **hypers):
    cfg = run_config(small_algo("iql"), seeds, {"seed": seed})
    return replace(cfg, sweep=replace(cfg.sweep, hypers=hypers))


def outcomes(step, won, note=""):
    won = np.asarray(won, np.float32)
    return Outcomes(step, note, 2 * won, won, np.full(won.shape, 5.0))


def test_a_record_by_hand():
    found = outcomes(10, [[1, 0, 1, 1], [0, 0, 0, 0]])
    parts = [(config(2, seed=4), found)]
    made = evaluation.record(parts, ASKED, {"replays": ["a.SC2Replay"]})
    keys = ["step", "episodes", *ASKED._fields, "note", "overall", "seeds"]
    assert list(made) == [*keys, "replays"] and (made["step"], made["episodes"]) == (
        10,
        4,
    )
    first, second = made["seeds"]
    _, low, high = stats.wilson(3, 4)
    assert first == {
        "seed": 4,
        "win_rate": 0.75,
        "win_rate_interval": [low, high],
        "return": 1.5,
        "episode_length": 5.0,
    }
    assert (second["seed"], second["win_rate"]) == (5, 0.0)
    assert made["overall"]["win_rate"] == [0.375, 0.0, 0.75]
    assert made["overall"]["interval"] == "interquartile mean, range over 2 seeds"
    assert json.loads(json.dumps(made)) == made


def test_combinations_have_means_of_their_own():
    cfg = config(1, lr=(1e-3, 1e-2))
    made = evaluation.record([(cfg, outcomes(10, [[1, 1], [0, 1]]))], ASKED)
    assert [one["hyper/lr"] for one in made["seeds"]] == [1e-3, 1e-2]
    assert [one["hypers"] for one in made["combinations"]] == [
        {"lr": 1e-3},
        {"lr": 1e-2},
    ]
    assert made["combinations"][0]["return"] == [2.0, 2.0, 2.0]
    assert made["combinations"][1]["return"] == [1.0, 0.0, 2.0]
    value, low, high = made["combinations"][0]["win_rate"]
    assert value == high == 1 and 0.2 < low < 0.6  # two won of two


def test_chunks_come_together_at_the_step_of_the_slowest():
    parts = [
        (config(2), outcomes(20, [[1, 1], [0, 0]])),
        (config(1, seed=2), outcomes(10, [[1, 0]], "older")),
    ]
    made = evaluation.record(parts, ASKED)
    assert (made["step"], made["note"]) == (10, "older")
    assert [one["seed"] for one in made["seeds"]] == [0, 1, 2]
    assert made["overall"]["win_rate"] == [0.5, 0.0, 1.0]
    five = [(config(5), outcomes(20, [[1, 1], [0, 0], [1, 0], [1, 1], [0, 1]]))]
    assert evaluation.record(five, ASKED)["overall"]["win_rate"] == list(
        stats.nested_ci([[1, 1], [0, 0], [1, 0], [1, 1], [0, 1]], rates=True)
    )


def test_lines_for_people(tmp_path):
    cfg = config(1, lr=(1e-3, 1e-2))
    found = outcomes(10, [[1, 1], [0, 1]], "an older one is used")
    made = evaluation.record([(cfg, found)], ASKED, {"replays": ["a.SC2Replay"]})
    *lines, last = evaluation.text(made).splitlines()
    assert lines[:5] == [
        "an older one is used",
        "checkpoint 10, 2 greedy episodes a seed in probe; seed=7 plays them again",
        "  seed  win rate   95 % interval   return  length",
        "     0     1.000   0.342 to 1.000    2.000     5.0  lr=0.001",
        "     0     0.500   0.095 to 0.905    1.000     5.0  lr=0.01",
    ]
    one = "(these episodes; 95 % interval over its episodes)"
    two = "(these episodes; interquartile mean, range over 2 seeds)"
    assert lines[5].startswith("win rate with lr=0.001: 1.000 [") and one in lines[5]
    assert lines[6].startswith("win rate with lr=0.01: 0.500 [") and one in lines[6]
    assert lines[7:] == [
        f"win rate: 0.750 [0.500, 1.000] {two}",
        f"return: 1.50 [1.00, 2.00] {two}",
        f"episode length: 5.0 [5.0, 5.0] {two}",
    ]
    assert last == "replay a.SC2Replay"
    path = evaluation.write(tmp_path / "new" / "evaluation.json", made)
    assert json.loads(path.read_text()) == made


def test_where_nothing_was_won_the_return_is_told():
    made = evaluation.record([(config(1), outcomes(10, [[0, 0]]))], ASKED)
    made["headline"] = "return of the run: 3.00 (mean of the last three evaluations)"
    *_, ret, length, last = evaluation.text(made).splitlines()
    assert ret.startswith("return: 0.00 [") and length.startswith("episode length: 5.0")
    assert last == made["headline"]


def test_a_win_of_a_single_seed_is_told():
    """Whose interquartile mean is nothing."""
    cfg = config(5)
    found = outcomes(10, [[0, 0]] * 4 + [[1, 1]])
    *_, rate, ret, _ = evaluation.text(
        evaluation.record([(cfg, found)], ASKED)
    ).splitlines()
    assert rate.startswith("win rate: 0.000 [") and ret.startswith("return: ")


def asked(run, *words):
    """Where the record goes, what differs, and the configuration that is played."""
    options = cli.options(evaluate.OPTIONS, [f"run_dir={run.run_dir}", *words])
    cfg = evaluate._changed(run, options)
    changed = evaluate._differing(run.env, cfg.env)
    world = names.world({"env": cfg.env})
    return evaluate._out(run, world, changed, options).name, changed, cfg


def test_what_differs_from_the_run_is_told_and_kept_apart(tmp_path):
    words = ["algo=vdn", "env=windy_maze", f"run_dir={tmp_path}/a"]
    run = resume.resolve(compose.composed(words))
    horizon = run.env["horizon"]
    assert asked(run)[:2] == ("evaluation.json", {})
    assert asked(run, f"env.horizon={horizon}")[0] == "evaluation.json"
    name, changed, cfg = asked(run, "env.horizon=30")
    assert name == "evaluation-windy_maze-horizon=30.json"
    assert (changed, cfg.env["horizon"]) == ({"horizon": 30}, 30)
    name, changed, _ = asked(run, "env=pac_men", "env.dots=2")
    assert name == "evaluation-pac_men-dots=2.json" and changed["name"] == "pac_men"
    made = evaluation.record(
        [(config(1), outcomes(10, [[1, 1]]))], ASKED._replace(env={"horizon": 30})
    )
    assert made["env"] == {"horizon": 30}
    assert "a seed in probe with horizon=30; seed=7" in evaluation.text(made)


def test_a_map_is_named_once_and_workers_belong_to_the_bridge(tmp_path):
    words = ["algo=vdn", "env=smax", "env.map=3m", f"run_dir={tmp_path}/a"]
    run = resume.resolve(compose.composed(words))
    assert asked(run, "env.map=8m")[0] == "evaluation-smax-8m.json"
    with pytest.raises(ConfigError, match=r"bridge\.workers: env=smax needs no worker"):
        asked(run, "workers=0")
