"""What greedy episodes found, as a record, a file and lines for people."""

import json
from dataclasses import replace

import numpy as np
from support import run_config, small_algo

from rolemarl_jax.report import evaluation, stats
from rolemarl_jax.report.evaluation import Outcomes


def config(seeds, seed=0, **hypers):
    cfg = run_config(small_algo("iql"), seeds, {"seed": seed})
    return replace(cfg, sweep=replace(cfg.sweep, hypers=hypers))


def outcomes(step, won, note=""):
    won = np.asarray(won, np.float32)
    return Outcomes(step, note, 2 * won, won, np.full(won.shape, 5.0))


def test_a_record_by_hand():
    found = outcomes(10, [[1, 0, 1, 1], [0, 0, 0, 0]])
    made = evaluation.record(config(2, seed=4), found, {"replays": ["a.SC2Replay"]})
    keys = ["step", "episodes", "note", "overall", "seeds", "replays"]
    assert list(made) == keys and (made["step"], made["episodes"]) == (10, 4)
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
    assert made["overall"]["win_rate"] == list(stats.iqm_ci([0.75, 0.0]))
    assert json.loads(json.dumps(made)) == made


def test_combinations_have_means_of_their_own():
    cfg = config(1, lr=(1e-3, 1e-2))
    made = evaluation.record(cfg, outcomes(10, [[1, 1], [0, 1]]))
    assert [one["hyper/lr"] for one in made["seeds"]] == [1e-3, 1e-2]
    assert [one["hypers"] for one in made["combinations"]] == [
        {"lr": 1e-3},
        {"lr": 1e-2},
    ]
    assert made["combinations"][1]["win_rate"] == [0.5, 0.5, 0.5]


def test_chunks_come_together_at_the_step_of_the_slowest():
    parts = [
        evaluation.record(config(2), outcomes(20, [[1, 1], [0, 0]])),
        evaluation.record(config(1, seed=2), outcomes(10, [[1, 0]], "older")),
    ]
    made = evaluation.together(parts)
    assert (made["step"], made["note"]) == (10, "older")
    assert [one["seed"] for one in made["seeds"]] == [0, 1, 2]
    assert made["overall"]["win_rate"] == list(stats.iqm_ci([1.0, 0.0, 0.5]))


def test_lines_for_people(tmp_path):
    cfg = config(1, lr=(1e-3, 1e-2))
    found = outcomes(10, [[1, 1], [0, 1]], "an older one is used")
    made = evaluation.record(cfg, found, {"replays": ["a.SC2Replay"]})
    assert evaluation.text(made).splitlines() == [
        "an older one is used",
        "checkpoint 10, 2 greedy episodes a seed",
        "  seed  win rate   95 % interval   return  length",
        "     0     1.000   0.342 to 1.000    2.000     5.0  lr=0.001",
        "     0     0.500   0.095 to 0.905    1.000     5.0  lr=0.01",
        "win_rate with lr=0.001: interquartile mean 1.000, 95 % [1.000, 1.000]",
        "win_rate with lr=0.01: interquartile mean 0.500, 95 % [0.500, 0.500]",
        "win_rate: interquartile mean 0.750, 95 % [0.500, 1.000]",
        "return: interquartile mean 1.500, 95 % [1.000, 2.000]",
        "episode_length: interquartile mean 5.000, 95 % [5.000, 5.000]",
        "replay a.SC2Replay",
    ]
    path = evaluation.write(tmp_path, made)
    assert path.name == "evaluation.json" and json.loads(path.read_text()) == made
