"""The summary by hand, and as JSON."""

import json
import math
import subprocess

import pytest

from experiments.door import compose, resume
from rolemarl_jax.report import findings, provenance, stats, summary


def row(seed, steps, win, score):
    return {
        "seed": seed,
        "env_steps": steps,
        "split": "test",
        "win_rate": win,
        "return": score,
    }


ROWS = [
    row(1, 10, 0.5, 3.0),
    row(0, 20, 0.25, 2.0),
    row(0, 10, 0.75, 1.0),
    row(1, 20, math.nan, 4.0),
    {"seed": 0, "env_steps": 30, "split": "train", "return": 99.0},
]


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return resume.resolve(compose.composed(["algo=vdn"]))


def test_per_seed_by_hand():
    found = findings.per_seed(ROWS)
    assert list(found) == [0, 1]
    assert found[0]["final"] == {"win_rate": 0.25, "return": 2.0}
    assert found[0]["best"] == {"win_rate": 0.75, "return": 2.0}
    assert math.isnan(found[1]["final"]["win_rate"])
    assert found[1]["best"] == {"win_rate": 0.5, "return": 4.0}


def test_summary_is_complete_and_is_json(cfg, tmp_path):
    speed = {"steps_per_second": 10.0, "compile_seconds": 2.0, "mfu": math.nan}
    made = findings.summarise(cfg, ROWS, speed)
    path = summary.write(tmp_path, made)
    assert json.loads(path.read_text()) == made
    assert (made["algo"], made["seeds"], made["env_steps"]) == ("vdn", 2, 30)
    value, low, high = stats.iqm_ci([2.0, 4.0])
    assert made["final"]["return"] == {"iqm": value, "low": low, "high": high}
    assert made["final"]["win_rate"]["iqm"] == 0.25
    assert made["per_seed"]["1"]["final"]["win_rate"] is None
    assert (made["steps_per_second"], made["mfu"]) == (10.0, None)
    assert made["versions"]["jax"] and "x" in made["device"]


def test_a_run_without_evaluation_has_empty_results(cfg):
    made = findings.summarise(cfg, [], {})
    assert made["final"]["win_rate"] == {"iqm": None, "low": None, "high": None}
    assert made["seeds"] == made["env_steps"] == 0


def test_commit_is_gits(repo):
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repo, capture_output=True, text=True
    )
    found = provenance.commit()
    if git.returncode == 0:
        assert found is None or found.removesuffix("+changes") == git.stdout.strip()
    else:
        assert found is None
