"""The benchmark of updates handles every algorithm, whatever it learns from."""

import sys
from functools import partial

import jax
import numpy as np
import pytest
from support import small_algo

import experiments.bench.__main__ as bench
from experiments.bench import peer, race, sweep, timing, update
from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.types import EnvSpec

SPEC = EnvSpec("tiny", 3, 5, 7, 6, 4)


@pytest.mark.parametrize("name", ["r3dm", "acorm_mappo", "eoi_ippo", "eoi_maac"])
def test_every_kind_of_learner_takes_a_random_batch(name):
    learner = make_learner(small_algo(name, {}), SPEC)
    batch = update.random_batch(SPEC, 4, 16)
    if learner.experience == "fresh":
        batch = update.as_fresh(batch, learner.carry(16))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    after, _, _ = jax.eval_shape(learner.update, state, batch, 0, jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_a_block_ends_with_its_last_observation():
    batch = update.random_batch(SPEC, 4, 2)
    block = update.as_fresh(batch, {})
    assert block.final_at.tolist() == [[4, 4], [3, 3]]
    np.testing.assert_array_equal(block.final.obs[1], batch.obs[-1])
    np.testing.assert_array_equal(block.last_action, batch.last_action[:-1])


def test_variants():
    values = small_algo("acorm_mappo", {"minibatch": 8})
    assert [label for label, _ in update._variants("a", values)] == [
        "a",
        "a + contrastive",
        "a, one minibatch",
        "a, one minibatch + contrastive",
    ]
    for name in ("r3dm_no_contrastive", "maac"):
        assert len(list(update._variants("b", small_algo(name)))) == 1


def test_products_are_counted_in_loops_too():
    def function(x):
        return jax.lax.scan(lambda c, _: (c @ x, None), x, None, length=3)[0]

    assert timing.counted_gflop(function, np.ones((4, 4))) * 1e9 == 3 * 2 * 4**3


def test_numbers_of_seeds_double_until_memory_ends():
    def row(fault, seeds):
        if seeds > 8:
            raise fault
        return {"seeds": seeds}

    for fault in (MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 3 GB")):
        found = [*sweep.sizes([], partial(row, fault))]
        assert [one["seeds"] for one in found] == [1, 2, 4, 8]
    assert [*sweep.sizes([3], partial(row, None))] == [{"seeds": 3}]
    with pytest.raises(ValueError, match="another"):
        [*sweep.sizes([], partial(row, ValueError("another")))]


def test_a_race_is_won_by_three_evaluations_in_a_row():
    points = [race.Point(i, float(i), won) for i, won in enumerate((1, 0.25, 0, 0.5))]
    assert race.reached(points, 0.5) is None
    assert race.reached([*points, race.Point(4, 4.0, 1.0)], 0.5).steps == 4
    assert race.reached(points[:2], 0.0) is None


def test_a_race_ends_where_it_is_won():
    row = race._row("ours", "3m", 0, (race.Point(i, i, 1) for i in range(9)), 0.8)
    assert row["busy seconds to 0.8"] == row["busy seconds"] == 2


def test_the_peers_mask_is_corrected_once():
    text = f"target = r + ({race.MASK}) * q[1:]"
    assert race.corrected(text) == f"target = r + ({race.CORRECTED}) * q[1:]"
    for other in ("", text * 2):
        with pytest.raises(ValueError, match="version"):
            race.corrected(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["suite=update", "card=h100"], "card: got 'h100' with suite=update; read by"),
        (["suite=update", "threads=99999"], "threads: got 99999; allowed: 0 to"),
        (["suite=update", "threads=two"], "threads: got 'two'"),
        (["suite=train", "seconds=0"], "seconds: got 0; allowed: numbers above 0"),
        (["suite=update", "lengths=0"], "lengths: got [0]; allowed: whole numbers"),
    ],
)
def test_options_that_would_be_told_wrongly(options, message, monkeypatch, capsys):
    """Before anything is measured."""
    monkeypatch.setattr(sys, "argv", ["bench", *options])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_sizes_of_the_peer_are_checked_first(monkeypatch):
    monkeypatch.setattr(peer, "checkout", lambda path: path)
    monkeypatch.setattr(peer, "measured", lambda *_: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=r"hidden: got \[7\]"):
        peer.run({"peer": "x", "hidden": [64, 7], "map": "3m", "seconds": 1.0})


def test_a_sweep_refuses_before_it_measures(monkeypatch):
    monkeypatch.setattr(sweep, "measured", lambda *_: pytest.fail("measured"))
    options = {"algo": ["qmix", "mappo"], "map": "3m", "peer": None, "seconds": 1.0}
    with pytest.raises(ConfigError, match="algorithms that replay"):
        sweep.run({**options, "seeds": [1], "seeds_by": ["map"]})
