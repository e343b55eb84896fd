"""What an evaluation tells of roles: of made-up episodes, and of learners."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, small_algo

import envs
from experiments import configure
from rolemarl_jax.config import build
from rolemarl_jax.experience.role_metrics import (
    Noted,
    common,
    influence,
    make_role_metrics,
)
from rolemarl_jax.learners import make_learner
from rolemarl_jax.nets.attention import AttentionContext, attended_roles
from rolemarl_jax.roles import roma
from rolemarl_jax.roles.parts.classifier import certainty
from rolemarl_jax.roles.parts.view import RoleView
from rolemarl_jax.run_config import EvalConfig
from rolemarl_jax.types import Bodies

PLAN = EvalConfig(every=1, episodes=1, worlds=1, role_episodes=3)
MAZE = envs.make_compiled(configure("env=windy_maze").env)


def told_apart(state):
    """Agents see something else each and at every step, so that their roles differ."""
    seen = MAZE.observe(state)
    key = jax.random.fold_in(jax.random.key(0), state.step)
    own = 3 * jax.random.normal(key, seen.obs.shape)
    return seen._replace(obs=seen.obs + own)


ENV = dataclasses.replace(MAZE, observe=told_apart)
T, W, N, Z = 30, 4, 4, 5
PAIR = dataclasses.replace(SPEC, n_agents=N, kinds=("a", "b", "c"))
COMMON = jax.jit(lambda noted, there: common(noted, there, PAIR, jax.random.key(0)))


def episodes(seed=0):
    """Two types of two agents each, whose roles are those of the type.

    In pairs of worlds, so that all agents are alike in how often they are there; what
    the dead and the ended do is noise.
    """
    g = np.random.default_rng(seed)
    kind = np.tile([0, 1, 1, 0], (T, W, 1))
    playing = np.arange(T)[:, None] < np.array([30, 12, 20, 7])
    alive = np.ones((T, W, N), bool)
    alive[5:, 2, :2] = False
    there = playing[..., None] & alive
    role = np.eye(Z)[kind] + 1e-3 * g.normal(size=(T, W, N, Z))
    role[~there] = 100 * g.normal(size=role[~there].shape)
    noted = Noted(
        role=role.astype(np.float32),
        state=np.zeros((T, W, 1)),
        bodies=Bodies(np.where(there, kind, 2), g.random((T, W, N, 2)), alive),
        action=np.where(there, kind + 2, g.integers(0, 5, kind.shape)),
        traded=np.roll(alive, 1, axis=2),
        changed=g.random((T, W, N)) < 0.5,
        moved=g.random((T, W, N)),
    )
    return jax.tree.map(jnp.asarray, (noted, there))


def test_roles_that_are_types():
    noted, there = episodes()
    found = COMMON(noted, there)
    assert found["points"] == there.sum()
    for name in ("mi_type", "mi_action"):
        np.testing.assert_allclose(found[name], np.log(2), rtol=1e-6)
    assert found["switching"] < 0.5  # K = 3 parts a type of two by its noise
    assert found["silhouette"] > 0.5


def test_roles_of_two_values():
    """Without noise the third cluster is empty, and all is known exactly."""
    noted, there = episodes()
    noted = noted._replace(role=noted.role.round())
    found = COMMON(noted, there)
    assert found["clusters"] == 2
    assert found["switching"] == 0
    np.testing.assert_allclose(found["silhouette"], 1, rtol=1e-5)
    np.testing.assert_allclose(found["nmi_type"], 1, rtol=1e-5)
    np.testing.assert_allclose(found["mi_agent"], np.log(2), rtol=1e-5)
    np.testing.assert_allclose(found["switching_chance"], 0.5, rtol=1e-5)
    assert found["nmi_position"] < 0.1


@pytest.mark.parametrize("what", ["one role", "nobody", "not a number"])
def test_what_has_no_value_is_nan(what):
    noted, there = episodes()
    value = jnp.nan if what == "not a number" else 0.7
    noted = noted._replace(role=jnp.full_like(noted.role, value))
    there = there & (what != "nobody")
    found = COMMON(noted, there)
    for name in ("silhouette", "mi_type", "nmi_agent", "nmi_action"):
        assert np.isnan(found[name]), name
    assert what != "one role" or found["clusters"] == 1
    assert what != "one role" or found["switching"] == 0


def test_influence_counts_living_pairs():
    noted, there = episodes()
    found = influence(noted, there, policy=True)
    tried = np.asarray(there & noted.traded)
    np.testing.assert_allclose(
        found["influence"], np.asarray(noted.changed)[tried].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["influence_js"], np.asarray(noted.moved)[tried].mean(), rtol=1e-5
    )
    nobody = influence(noted, there & False, policy=False)
    assert nobody.keys() == {"influence"} and np.isnan(nobody["influence"])


def heard(state, group, rows, volume):
    """The learner, with a factor on what its network reads last, the role."""
    own = state.params[group]["params"]
    kernel = own["Linear_0"]["kernel"].at[-rows:].multiply(volume)
    first = {**own["Linear_0"], "kernel": kernel}
    params = {"params": {**own, "Linear_0": first}}
    return state._replace(params={**state.params, group: params})


SHARED = {"points", "clusters", "silhouette", "switching", "switching_chance"}
SHARED |= {
    f"{what}_{of}"
    for what in ("mi", "nmi")
    for of in ("type", "agent", "action", "position")
}
OWN = {
    # Parameters that read the role last, and what is told: influence first.
    "acorm": ("agent", ["influence", "attention_entropy", "attention_top_1"]),
    "acorm_mappo": ("actor", ["influence_js", "attention_entropy", "attention_top_1"]),
    "roma": (None, ["influence", "dissimilarity_within"]),
}


@pytest.mark.parametrize(
    "name", ["acorm", *(pytest.param(n, marks=pytest.mark.slow) for n in [*OWN][1:])]
)
def test_learners(name):
    algo = small_algo(name)
    learner = make_learner(algo, ENV.spec)
    measure = jax.jit(make_role_metrics(PLAN, ENV, learner))
    state = jax.jit(learner.init)(jax.random.key(0))
    (group, expected), rows = OWN[name], algo["role"]["role"]
    loud = heard(state, group, rows, 100.0) if group else state
    found = {k.removeprefix("role/"): float(v) for k, v in measure(loud).items()}
    assert found.keys() >= SHARED | {*expected}
    assert np.isfinite([found[column] for column in expected]).all()
    assert 0 < found[expected[0]] <= 1
    if group is None:
        return
    found = measure(heard(state, group, rows, 0.0))
    assert found["role/influence"] == 0
    assert found.get("role/influence_js", 0) == 0


def test_only_where_there_are_roles_and_they_are_asked_for():
    none = dataclasses.replace(PLAN, role_episodes=0)
    unseen = dataclasses.replace(ENV, bodies=None)
    acorm, qmix = (make_learner(small_algo(n), ENV.spec) for n in ("acorm", "qmix"))
    for given in ((PLAN, ENV, qmix), (none, ENV, acorm), (PLAN, unseen, acorm)):
        assert make_role_metrics(*given)(None) == {}


def test_attended_roles():
    g = np.random.default_rng(0)
    net = AttentionContext(heads=2, width=6, out=3)
    query, roles = g.normal(size=(2, 7, N, Z)).astype(np.float32)
    params = net.init(jax.random.key(0), query, roles)
    found = attended_roles(net, params, query, roles)
    assert found.shape == (7, 2, N, N)
    for head in range(2):
        columns = slice(3 * head, 3 * head + 3)
        q, k = (
            x @ np.asarray(params["params"][name]["kernel"])[:, columns]
            for name, x in (("q", query), ("k", roles))
        )
        score = np.exp(np.einsum("tid,tjd->tij", q, k) / np.sqrt(3))
        expected = score / score.sum(-1, keepdims=True)
        np.testing.assert_allclose(found[:, head], expected, rtol=1e-4)


def test_dissimilarity():
    spec = dataclasses.replace(SPEC, kinds=("a", "b"))
    algo = small_algo("roma")
    learner, size = make_learner(algo, spec), algo["role"]["role"]
    params = jax.jit(learner.init)(jax.random.key(0)).params
    g = np.random.default_rng(0)
    shape = (4, 2, spec.n_agents)
    role = g.normal(size=(*shape, size)).astype(np.float32)
    there, kind = g.random(shape) < 0.7, g.integers(0, 2, shape)
    reset, state = np.zeros(shape[:2], bool), np.zeros((*shape[:2], 6))
    view = RoleView(role, state, reset, kind, ~reset, there)
    found = learner.role_metrics(params, jax.tree.map(jnp.asarray, view))
    net = roma.make_setup(build(roma.Config, algo["role"], ""), spec).nets.dissimilarity
    index = list(np.ndindex(*shape, spec.n_agents))
    both = np.stack([np.append(role[t, w, i], role[t, w, j]) for t, w, i, j in index])
    given = net.apply(params["dissimilarity"], both[:, None, None])
    pairs = {True: [], False: []}
    for (t, w, i, j), value in zip(index, np.abs(given).ravel(), strict=True):
        if i != j and there[t, w, i] and there[t, w, j]:
            pairs[kind[t, w, i] == kind[t, w, j]].append(value)
    np.testing.assert_allclose(
        [found["dissimilarity_within"], found["dissimilarity_between"]],
        [np.mean(pairs[True]), np.mean(pairs[False])],
        rtol=1e-4,
    )
    alone = view._replace(kind=np.zeros(shape, int))
    one_type = learner.role_metrics(params, jax.tree.map(jnp.asarray, alone))
    assert np.isnan(one_type["dissimilarity_between"])


def test_accuracy_of_a_classifier():
    log_p = jnp.log(jnp.asarray([[[[0.6, 0.4], [0.7, 0.3]]], [[[0.9, 0.1]] * 2]]))
    found = certainty(log_p, jnp.asarray([[1.0], [0.0]]))
    assert found["accuracy"] == 0.5 and found["chance"] == 0.5
