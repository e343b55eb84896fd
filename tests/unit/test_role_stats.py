"""Statistics of roles against NumPy, scikit-learn and SciPy, on points that count."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import (
    mutual_info_score,
    normalized_mutual_info_score,
    silhouette_score,
)

from rolemarl_jax.ops import role_stats

NOISE = 1e9  # of what must not count
mutual_information = jax.jit(role_stats.mutual_information, static_argnums=3)
silhouette = jax.jit(role_stats.silhouette, static_argnums=3)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_two_labels_that_say_the_same_share_log_two():
    a = jnp.asarray([0, 1, 1, 0, 1])
    there = jnp.asarray([True, True, True, True, False])
    nats, share = mutual_information(a, 2 - 2 * a, there, (2, 3))
    np.testing.assert_allclose([nats, share], [np.log(2), 1.0], rtol=1e-6)
    nats, share = mutual_information(a, jnp.asarray([0, 0, 1, 1, 0]), there, (2, 2))
    np.testing.assert_allclose([nats, share], 0.0, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_mutual_information(seed):
    g = rng(seed)
    a, b = g.integers(0, 3, (40, 4)), g.integers(0, 5, (40, 4))
    b = np.where(g.random(b.shape) < 0.5, a, b)
    there = g.random(a.shape) < 0.6
    ours = mutual_information(*map(jnp.asarray, (a, b, there)), (4, 5))
    theirs = mutual_info_score(a[there], b[there])
    share = normalized_mutual_info_score(a[there], b[there])
    np.testing.assert_allclose(ours, [theirs, share], rtol=1e-4)


@pytest.mark.parametrize("which", ["one cluster", "one type", "nobody"])
def test_what_cannot_be_told_is_nan(which):
    varied, same = jnp.asarray([0, 1, 1]), jnp.asarray([2, 2, 2])
    a = same if which == "one cluster" else varied
    b = same if which == "one type" else varied
    there = jnp.full(3, which != "nobody")
    assert np.isnan(mutual_information(a, b, there, (3, 3))).all()


def test_silhouette():
    g = rng()
    x, labels = g.normal(size=(60, 5)), g.integers(0, 3, 60)
    x += labels[:, None]
    there = g.random(60) < 0.7
    x[~there] = NOISE
    labels[0], there[0] = 3, True  # alone in its cluster
    found = silhouette(jnp.asarray(x, jnp.float32), jnp.asarray(labels), there, 5)
    expected = silhouette_score(x[there], labels[there])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_silhouette_of_one_cluster_is_nan_and_of_equal_points_zero():
    x, there = jnp.ones((4, 2)), jnp.ones(4, bool)
    assert np.isnan(silhouette(x, jnp.zeros(4, int), there, 2))
    assert silhouette(x, jnp.asarray([0, 0, 1, 1]), there, 2) == 0


def clustered(x, there, k=3):
    means = role_stats.centres(x, there, k, 10)
    return role_stats.nearest(x, means), means


def test_clusters_are_those_of_the_living_and_take_in_the_others():
    g = rng()
    truth = g.integers(0, 3, 50)
    x = 10 * np.eye(3)[truth] + 0.1 * g.normal(size=(50, 3)) + 100
    there = g.random(50) < 0.8
    x[~there] = np.where(np.arange(3) == 0, 500, x[~there])
    labels, means = jax.jit(clustered)(jnp.asarray(x, jnp.float32), jnp.asarray(there))
    same = np.asarray(labels)[:, None] == np.asarray(labels)
    expected = truth[:, None] == truth
    np.testing.assert_array_equal(same[there][:, there], expected[there][:, there])
    for c in range(3):
        own = x[there & (np.asarray(labels) == c)]
        np.testing.assert_allclose(means[c], own.mean(0), rtol=1e-5)


@pytest.mark.parametrize("value", [0.3, 1e4])
def test_roles_that_are_all_alike_are_one_cluster(value):
    x = jnp.full((30, 7), value) / 3
    labels, _ = jax.jit(clustered)(x, jnp.ones(30, bool))
    assert len(np.unique(labels)) == 1


def test_draw():
    there = jnp.asarray(rng().random(100) < 0.3)
    for count in (10, 60):
        pick, real = role_stats.draw(there, count, jax.random.key(1))
        assert real.sum() == min(count, there.sum())
        assert len(np.unique(pick)) == count and there[pick[real]].all()


def test_switching_counts_agents_that_are_there_before_and_after():
    labels = np.array([[0, 1, 2], [0, 2, 2], [1, 0, 2], [1, 1, 0]])
    there = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 1]], bool)
    # Pairs: 3 of which 1 changes, 2 of which 1 changes, 1 that changes.
    assert role_stats.switching(jnp.asarray(labels), jnp.asarray(there)) == 0.5
    assert np.isnan(role_stats.switching(jnp.asarray(labels), jnp.zeros((4, 3), bool)))
    share = role_stats.shares(jnp.asarray(labels), jnp.asarray(there), 4)
    counts = np.bincount(labels[there], minlength=4) / there.sum()
    np.testing.assert_allclose(share, counts)


def softmax(x, avail):
    x = np.exp(np.where(avail, x, -np.inf))
    return x / x.sum(-1, keepdims=True)


def test_jensen_shannon():
    g = rng()
    p, q = g.normal(size=(2, 50, 6)).astype(np.float32)
    avail = g.random((50, 6)) < 0.6
    avail[:, 0] = True
    p[~avail] = NOISE
    ours = jax.jit(role_stats.jensen_shannon)(p, q, avail)
    theirs = jensenshannon(softmax(p, avail), softmax(q, avail), axis=-1) ** 2
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
    assert (jax.jit(role_stats.jensen_shannon)(p, p, avail) == 0).all()
    far = jnp.asarray([[0.0, -200.0]]), jnp.asarray([[-200.0, 0.0]])
    found = role_stats.jensen_shannon(*far, jnp.ones((1, 2), bool))
    np.testing.assert_allclose(found, np.log(2), rtol=1e-6)


def test_attention():
    one = np.eye(4)[None].repeat(2, 0)  # both heads of two see one role each
    even = np.full((2, 4, 4), 0.25)
    weight = jnp.asarray(np.stack([one, even, np.stack([one[0], even[0]])]))
    see = partial(role_stats.attention, weight.astype(jnp.float32))
    found = see(jnp.asarray([False, False, True]))
    expected = {"entropy": 0.5, "entropy_0": 0, "entropy_1": 1}
    expected |= {"top": 0.625, "top_0": 1, "top_1": 0.25}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)
    np.testing.assert_allclose(see(jnp.ones(3, bool))["top"], 0.625)
    assert found.keys() == expected.keys()
