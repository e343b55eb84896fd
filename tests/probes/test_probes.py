"""Every algorithm on every probe; see ``worlds`` for why the answers are what they are.

The core algorithms run by default, all others of ``configs/algo`` with ``-m slow``.
"""

import numpy as np
import pytest
from probes import worlds
from probes.training import train
from support import ALGOS, load_algo

CORE = ("iql", "vdn", "qmix", "acorm")
VALUES = ("constant_terminated", "constant_truncated", "observation", "delayed")
# Without a mixer that represents the game, these value what exploration earns.
SAFE = ("iql", "vdn")
# Their targets hold intrinsic rewards, or none at all.
PLAIN_VALUES = ("plain", "acorm", "roma")


def params(names):
    return [
        name if name in CORE else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


def valued():
    algos = {name: load_algo(name) for name in ALGOS}
    return [
        name
        for name, algo in algos.items()
        if algo["learner"] == "qmix" and algo["role"]["name"] in PLAIN_VALUES
    ]


def recurrent(algo):
    role = algo.get("role", {})
    return algo["learner"] != "maac" and role.get("agent", role).get("recurrent", True)


def solvable(name):
    """Worlds that the algorithm's inputs and memory suffice for."""
    algo = load_algo(name)
    role = algo.get("role", {})
    agent = role.get("agent", role)
    kinds = ["action", "match"]
    if recurrent(algo):
        kinds.append("memory")
        if agent.get("last_action", True):
            kinds.append("two_roles")
    return kinds


def solvable_pairs():
    return [
        pytest.param(name, kind, marks=() if name in CORE else pytest.mark.slow)
        for name in ALGOS
        for kind in solvable(name)
    ]


@pytest.mark.parametrize(("name", "kind"), solvable_pairs())
def test_solved(name, kind):
    returns, _ = train(name)
    assert np.median(returns[kind]) >= 0.99 * worlds.BEST[kind]


@pytest.mark.parametrize("name", params(valued()))
@pytest.mark.parametrize("kind", VALUES)
def test_values(name, kind):
    """The mean value of the actions taken is known, and so is the loss: none.

    Unless steps of different value look alike to it.
    """
    _, metrics = train(name)
    memory = recurrent(load_algo(name))
    np.testing.assert_allclose(
        metrics[kind]["td/q_taken"], worlds.value(kind, memory), rtol=0.04
    )
    assert not memory or metrics[kind]["td/loss_td"] < 5e-3


def test_truncation_is_not_termination():
    """The two constant worlds differ only in the flag, by more than the tolerance."""
    discount = worlds.DISCOUNTS["constant_truncated"]
    sums = [sum(discount**j for j in range(left)) for left in range(1, 7)]
    assert worlds.value("constant_truncated") > 1.15 * np.mean(sums)


@pytest.mark.parametrize("name", params(n for n in ALGOS if n not in SAFE))
def test_coordination(name):
    assert train(name)[0]["coordination"].mean() == pytest.approx(1.0)


@pytest.mark.parametrize("name", SAFE)
def test_no_coordination(name):
    """They settle for the safe game, as derived in ``worlds``."""
    assert train(name)[0]["coordination"].mean() == pytest.approx(7 / 8)


def test_role_blind_policy_earns_half():
    """The proposition of ``worlds``: neither index nor last action, exactly 1.5."""
    returns, _ = train("qmix", '{"role": {"agent_id": false, "last_action": false}}')
    np.testing.assert_array_equal(returns["two_roles"], worlds.BLIND)
    np.testing.assert_array_equal(returns["ids"], worlds.BLIND)
    assert returns["match"].mean() == worlds.BEST["match"]


@pytest.mark.parametrize("name", ["iql", "vdn", "qmix"])
def test_index_breaks_symmetry(name):
    assert train(name)[0]["ids"].mean() == pytest.approx(worlds.BEST["ids"])


def test_no_symmetry_breaking_without_index():
    """ACORM's roles come from trajectories, and these are equal."""
    np.testing.assert_array_equal(train("acorm")[0]["ids"], worlds.BLIND)
