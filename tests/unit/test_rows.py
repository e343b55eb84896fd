"""Columns of ``metrics.jsonl``: the same for both host loops, in a fixed order."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import run_config, small_algo

from rolemarl_jax.bridge import matches
from rolemarl_jax.bridge.ledger import Ledger
from rolemarl_jax.config import ConfigError
from rolemarl_jax.members import Member
from rolemarl_jax.program.divergence import GOING_ON
from rolemarl_jax.report.rows import EpisodeMeans, Position, make_row, stamped
from rolemarl_jax.run import legs, runner

MOMENT = Position(env_steps=400, updates=7, stage="train")
MEANS = EpisodeMeans(ret=1.5, win_rate=0.5, length=20.0, episodes=4)
EPISODES = ["return", "win_rate", "episode_length", "episodes"]


def test_columns_of_a_row():
    row = make_row(Member(3, {}), MOMENT, "test", MEANS, {"workers": 2})
    assert stamped(row, 1.23456) == {
        "seed": 3,
        "env_steps": 400,
        "updates": 7,
        "stage": "train",
        "split": "test",
        "return": 1.5,
        "win_rate": 0.5,
        "episode_length": 20.0,
        "episodes": 4,
        "workers": 2,
        "wall_s": 1.235,
    }


def test_order_of_columns_in_native_runs():
    """Hyper-parameters behind the seed, divergence before what was measured."""
    cfg = run_config(small_algo("iql"), 1)
    cfg = replace(cfg, sweep=replace(cfg.sweep, hypers={"lr": (1e-3, 1e18)}))
    columns = EpisodeMeans(*(np.arange(2.0) for _ in range(3)), np.arange(2))
    frozen = np.array([GOING_ON, 200])
    fine, diverged = (
        stamped(row, 2.0)
        for row in runner._rows(
            cfg, MOMENT, frozen, "train", columns, {"td": np.zeros(2)}
        )
    )
    where = ["seed", "hyper/lr", "env_steps", "updates", "stage", "split"]
    assert list(fine) == [*where, *EPISODES, "td", "wall_s"]
    assert list(diverged) == [*where, "frozen_at", *EPISODES, "td", "wall_s"]
    assert (diverged["frozen_at"], diverged["return"]) == (200, 1.0)
    assert all(type(value) in (int, float, str) for value in diverged.values())


def test_means_of_no_episodes_are_unknown():
    means = matches.means([])
    assert all(math.isnan(x) for x in means[:3])
    assert means.episodes == 0
    played = [
        SimpleNamespace(reward=np.array([1.0, 2.0]), won=True, length=2),
        SimpleNamespace(reward=np.array([1.0]), won=False, length=1),
    ]
    assert matches.means(played) == (2.0, 0.5, 1.5, 2)


def test_a_ledger_counts_what_this_process_did():
    ledger = Ledger(env_steps=100, episodes=5, seconds=50.0, earlier={"aborts": 3})
    ledger.start(updates=20)
    ledger.env_steps += 30
    report = ledger.report(updates=26, rows=[])
    assert (report.steps_done, report.updates_done) == (30, 6)
    assert 0 < report.seconds < 10
    assert 50 <= ledger.wall_s() < 60
    assert ledger.totals({"aborts": 1, "restarts": 2}) == {"aborts": 4, "restarts": 2}


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"eval": {"every": 300}}, r"eval\.every: got 300; .*log_every=200"),
        ({"checkpoint": {"every": 600}}, r"checkpoint\.every: got 600; .*every=400"),
        ({"total_steps": 10**9}, r"log_every: got 200, 5,000,000 rows .*1,000,000"),
    ],
)
def test_intervals_divide_each_other(over, message):
    whole = {"log_every": 200, "eval": {"every": 400}, "checkpoint": {"every": 800}}
    legs.check_intervals(run_config(small_algo("iql"), over=whole))
    with pytest.raises(ConfigError, match=message):
        legs.check_intervals(run_config(small_algo("iql"), over={**whole, **over}))
