"""K-means and InfoNCE against naive NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from rolemarl_jax.ops import cluster, contrastive

kmeans = jax.jit(cluster.kmeans, static_argnums=(1, 2))
bilinear_info_nce = jax.jit(contrastive.bilinear_info_nce)


def lloyd(x, k, iterations, alive):
    """Farthest-first start and Lloyd's iterations, by explicit centres."""
    living = np.flatnonzero(alive)
    centres = [x[living[0]]]
    while len(centres) < k:
        far = np.min([((x - c) ** 2).sum(-1) for c in centres], axis=0)
        centres.append(x[np.argmax(np.where(alive, far, 0))])
    centres = np.stack(centres)
    empty = np.zeros(k, bool)
    for _ in range(iterations + 1):
        d = ((x[:, None] - centres) ** 2).sum(-1)
        labels = np.where(empty, np.inf, d).argmin(-1)
        for c in range(k):
            mine = (labels == c) & alive
            empty[c] = not mine.any()
            if mine.any():
                centres[c] = x[mine].mean(0)
    return labels


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]), st.booleans())
def test_kmeans_is_lloyd(seed, k, masked):
    g = np.random.default_rng(seed)
    x = g.normal(size=(6, 3)).astype(np.float32)
    alive = g.random(6) < 0.7 if masked else np.ones(6, bool)
    alive[g.integers(6)] = True
    ours = kmeans(jnp.asarray(x), k, 8, jnp.asarray(alive) if masked else None)
    np.testing.assert_array_equal(ours, lloyd(x, k, 8, alive))


def test_well_separated_clusters_as_sklearn():
    g = np.random.default_rng(0)
    centres = 10 * g.normal(size=(3, 4))
    truth = np.array([0, 0, 1, 2, 1, 2, 2])
    x = centres[truth] + g.normal(size=(7, 4))
    ours = np.asarray(kmeans(jnp.asarray(x, jnp.float32), 3, 10))
    theirs = KMeans(3, n_init=10, random_state=0).fit(x).labels_
    same = lambda a: a[:, None] == a  # noqa: E731
    np.testing.assert_array_equal(same(ours), same(theirs))
    np.testing.assert_array_equal(same(ours), same(truth))


def test_batched_is_one_by_one():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    whole = kmeans(x, 3, 5)
    one = np.stack([np.stack([kmeans(y, 3, 5) for y in row]) for row in x])
    np.testing.assert_array_equal(whole, one)


def test_equal_points_and_ties():
    np.testing.assert_array_equal(kmeans(jnp.ones((4, 2)), 3, 5), [0, 0, 0, 0])
    # 1 is as far from 0 as from 2: the lower label wins.
    line = jnp.array([[0.0], [2.0], [1.0]])
    np.testing.assert_array_equal(kmeans(line, 2, 0), [0, 1, 0])


def test_dead_points_shape_nothing():
    x = jax.random.normal(jax.random.key(2), (5, 3))
    alive = jnp.array([True, False, True, True, True])
    far = x.at[1].set(50.0)
    a, b = (kmeans(y, 2, 6, alive) for y in (x, far))
    np.testing.assert_array_equal(a[alive], b[alive])
    assert kmeans(x, 2, 6, jnp.zeros(5, bool)).shape == (5,)


def info_nce(q, k, w, labels, alive):
    total, anchors = 0.0, 0
    for i in np.flatnonzero(alive):
        score = {j: np.exp(q[i] @ w @ k[j]) for j in np.flatnonzero(alive)}
        positive = sum(s for j, s in score.items() if labels[j] == labels[i])
        total -= np.log(positive / sum(score.values()))
        anchors += 1
    return total / max(anchors, 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("masked", [False, True])
def test_info_nce(seed, masked):
    g = np.random.default_rng(seed)
    q, k = g.normal(size=(2, 4, 3))
    w, labels = g.normal(size=(3, 3)), g.integers(0, 2, 4)
    alive = g.random(4) < 0.6 if masked else np.ones(4, bool)
    ours = bilinear_info_nce(
        *map(jnp.asarray, (q, k, w, labels)), jnp.asarray(alive) if masked else None
    )
    expected = info_nce(q, k, w, labels, alive)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_info_nce_edges():
    q = jax.random.uniform(jax.random.key(0), (4, 64))
    w = jax.random.uniform(jax.random.key(1), (64, 64))
    # Raw logits near 500 overflow a naive exp; one cluster costs nothing.
    assert bilinear_info_nce(q, q, w, jnp.zeros(4, int)) == 0
    nobody = jnp.zeros(4, bool)

    def loss(q):
        return bilinear_info_nce(q, q, w, jnp.arange(4), nobody)

    value, grad = jax.value_and_grad(loss)(q)
    assert value == 0 and not np.any(grad)


def test_info_nce_ignores_the_dead():
    q = jax.random.normal(jax.random.key(0), (4, 3))
    alive, labels = jnp.array([True, True, False, True]), jnp.array([0, 1, 0, 1])
    a, b = (
        bilinear_info_nce(x, x, jnp.eye(3), labels, alive) for x in (q, q.at[2].add(9))
    )
    assert a == b
