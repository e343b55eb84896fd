"""Every algorithm on every probe; see ``worlds`` for why the answers are what they are.

QMIX runs by default, all others of ``configs/algo`` with ``-m slow``.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from probes import worlds
from probes.training import train, train_as_shipped, untrained
from support import ALGOS, load_algo

from rolemarl_jax.roles import acorm

CORE = ("qmix",)
VALUES = ("constant_terminated", "constant_truncated", "observation", "delayed")
# Without a mixer that represents the game, these value what exploration earns.
SAFE = ("iql", "vdn", "pqn_vdn")
# Role methods whose agents share all weights and know no index.
BY_TRAJECTORY = ("acorm", "acorm_mappo", "r3dm")
# Their targets hold intrinsic rewards, or none at all.
PLAIN_VALUES = ("plain", "acorm", "roma", "unit_type", "random_role")


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
        if algo["learner"] in ("qmix", "pqn") and algo["role"]["name"] in PLAIN_VALUES
    ]


def recurrent(algo):
    role = algo.get("role", {})
    return algo["learner"] != "maac" and role.get("agent", role).get("recurrent", True)


def tells_apart(name):
    """Whether agents read their index, or have weights of their own."""
    return load_algo(name).get("role", {}).get("name") not in BY_TRAJECTORY


def solvable(name):
    """Worlds that the algorithm's inputs and memory suffice for."""
    algo = load_algo(name)
    role = algo.get("role", {})
    agent = role.get("agent", role)
    kinds = ["action", "match"]
    if recurrent(algo):
        kinds.append("memory")
        if agent.get("last_action", True):
            kinds.append("lot")
    return [*kinds, "duties"] if tells_apart(name) else kinds


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGOS)
def test_solved_as_shipped(name):
    """In every episode, with shipped rates and within the steps of a default run."""
    kinds = [*solvable(name), *(["coordination"] if name not in SAFE else [])]
    returns = train_as_shipped(name, tuple(kinds))
    found = {kind: float(ret.mean()) for kind, ret in returns.items()}
    print(name, found)
    short = [kind for kind, ret in found.items() if ret < 0.99 * worlds.BEST[kind]]
    assert short == [], found


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


@pytest.mark.slow
@pytest.mark.parametrize("name", SAFE)
def test_no_coordination(name):
    """They settle for the safe game, as derived in ``worlds``."""
    assert train(name)[0]["coordination"].mean() == pytest.approx(7 / 8)


# Telling agents apart, and remembering what one did; see ``worlds``.

NO_INDEX = {"role": {"agent_id": False}}
FORGETFUL = {"role": {"agent_id": False, "recurrent": False}}
UNAWARE = {"role": {"agent_id": False, "last_action": False}}


@pytest.mark.slow
def test_memory_solves_the_lot_and_not_the_duties():
    """QMIX without the index: control for both, and it does learn."""
    kinds = ("match", "lot", "duties")
    returns, _ = train("qmix", json.dumps(NO_INDEX), kinds)
    assert returns["match"].mean() == worlds.BEST["match"]
    assert returns["lot"].mean() == worlds.BEST["lot"]
    np.testing.assert_array_equal(returns["duties"], worlds.CEILING["duties"])


@pytest.mark.parametrize(
    ("name", "over", "kind"),
    [
        ("qmix", UNAWARE, "lot"),
        ("qmix", FORGETFUL, "lot"),
        ("qmix", NO_INDEX, "duties"),
        pytest.param("acorm", {}, "duties", marks=pytest.mark.slow),
    ],
)
def test_what_nobody_can(name, over, kind):
    """The ceilings hold for any weights and in every episode."""
    returns = untrained(name, over, kind)
    np.testing.assert_array_equal(returns, worlds.CEILING[kind])


@pytest.mark.slow
def test_nor_does_chance_help():
    """Histories are drawn, and differ; the mean is the ceiling, to four errors."""
    returns = untrained("qmix", NO_INDEX, "duties", epsilon=0.5, episodes=4096)
    assert len(set(returns[0])) > 3
    error = returns.std(1) / np.sqrt(returns.shape[1])
    assert (abs(returns.mean(1) - worlds.CEILING["duties"]) < 4 * error).all()


def test_the_index_is_enough():
    """Untrained weights that read it are not all at the ceiling."""
    returns = untrained("qmix", {}, "duties")
    assert (returns != worlds.CEILING["duties"]).any()


@pytest.mark.parametrize("name", params(n for n in ALGOS if not tells_apart(n)))
def test_roles_from_trajectories_do_not_break_symmetry(name):
    """Trained, they earn what the proposition says and no more."""
    np.testing.assert_array_equal(train(name)[0]["duties"], worlds.CEILING["duties"])


@pytest.mark.slow
def test_roles_are_a_memory_of_the_lot(monkeypatch):
    """ACORM with a utility network that forgets each step: its role remembers.

    Without the role, that network is the forgetful QMIX above.
    """
    plain = acorm.q_values

    def forgetful(setup, params, x, feats, carry):
        x = x._replace(reset=jnp.ones_like(x.reset))
        return plain(setup, params, x, feats, carry)

    monkeypatch.setattr(acorm, "q_values", forgetful)
    returns, _ = train.__wrapped__("acorm", kinds=("lot",))
    assert returns["lot"].mean() == worlds.BEST["lot"]
