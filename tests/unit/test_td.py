"""TD targets and reductions against loops written from their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolemarl_jax.ops import td


def rows(seed, T, B):
    """Random `filled` rows: episodes one after another, terminal slots between."""
    g = np.random.default_rng(seed)
    terminated, mask = np.zeros((T, B), bool), np.zeros((T, B), np.float32)
    for b in range(B):
        t = 0
        while t < T:
            length, cut = g.integers(1, 5), g.random() < 0.5
            mask[t : t + length, b] = 1
            if t + length <= T:
                terminated[t + length - 1, b] = not cut
            t += length + 1  # the slot of the terminal observation
        if g.random() < 0.3:
            mask[T - g.integers(1, T) :, b] = 0  # padding
    terminated &= mask > 0
    return g.normal(size=(T, B)), terminated, mask, g.normal(size=(T, B))


def by_hand(reward, terminated, mask, ahead, gamma, lam):
    """TD(lambda) target of each transition as a sum over n-step returns."""
    T, B = reward.shape
    out = np.zeros((T, B))
    for t in range(T):
        for b in range(B):
            # Steps of the same episode from t on, as far as the row holds them.
            last = t
            while last + 1 < T and mask[last + 1, b] and not terminated[last, b]:
                last += 1
            n_step = []
            for n in range(1, last - t + 2):
                total = sum(gamma**k * reward[t + k, b] for k in range(n))
                end = t + n - 1
                total += gamma**n * ahead[end, b] * (not terminated[end, b])
                n_step.append(total)
            weights = [(1 - lam) * lam**i for i in range(len(n_step) - 1)]
            weights.append(lam ** (len(n_step) - 1))
            out[t, b] = np.dot(weights, n_step)
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.8, 1.0]))
def test_lambda_targets(seed, lam):
    reward, terminated, mask, ahead = rows(seed, 9, 3)
    ours = td.lambda_targets(
        *map(jnp.asarray, (reward, terminated, mask, ahead)), 0.9, lam
    )
    expected = by_hand(reward, terminated, mask, ahead, 0.9, lam)
    real = mask > 0
    np.testing.assert_allclose(
        np.asarray(ours)[real], expected[real], rtol=2e-5, atol=1e-6
    )


def test_terminated_stops_and_truncated_bootstraps():
    reward, ahead = jnp.array([[1.0, 1.0]]), jnp.array([[5.0, 5.0]])
    ended = jnp.array([[True, False]])
    for lam in (0.0, 0.7):
        got = td.lambda_targets(reward, ended, jnp.ones((1, 2)), ahead, 0.5, lam)
        np.testing.assert_allclose(got, [[1.0, 3.5]])


def test_terminal_slot_separates_episodes():
    """What comes after a truncated episode in its row does not reach its target."""
    mask = jnp.array([[1.0], [0.0], [1.0]])
    ahead = jnp.array([[2.0], [9.0], [4.0]])
    ended = jnp.zeros((3, 1), bool)
    results = [
        td.lambda_targets(jnp.array([[1.0], [0], [x]]), ended, mask, ahead, 1.0, 0.9)
        for x in (0.0, 100.0)
    ]
    assert results[0][0, 0] == results[1][0, 0] == 3.0


def test_agents_that_learn_alone():
    reward, terminated, mask, ahead = rows(3, 6, 2)
    each = np.stack([ahead, 2 * ahead], axis=-1)
    both = td.lambda_targets(
        *map(jnp.asarray, (reward, terminated, mask, each)), 0.9, 0.5
    )
    for i in range(2):
        alone = td.lambda_targets(
            *map(jnp.asarray, (reward, terminated, mask, each[..., i])), 0.9, 0.5
        )
        np.testing.assert_allclose(both[..., i], alone, rtol=1e-6)


def test_chosen_and_masked():
    g = np.random.default_rng(0)
    q, action = g.normal(size=(4, 3, 5)), g.integers(0, 5, (4, 3))
    loop = [[q[t, n, action[t, n]] for n in range(3)] for t in range(4)]
    got = td.chosen(jnp.asarray(q), jnp.asarray(action))
    np.testing.assert_allclose(got, loop, rtol=1e-6)
    avail = g.random((4, 3, 5)) < 0.5
    avail[..., 2] = True
    best = np.asarray(td.mask_unavailable(jnp.asarray(q), jnp.asarray(avail))).argmax(
        -1
    )
    assert np.take_along_axis(avail, best[..., None], -1).all()
    np.testing.assert_array_equal(best, np.where(avail, q, -np.inf).argmax(-1))


def test_standardised_available():
    """Unavailable actions shape no moment; without a choice there is nothing."""
    g = np.random.default_rng(0)
    q, avail = g.normal(3.0, 2.0, (20, 6)), g.random((20, 6)) < 0.6
    avail[0], avail[1] = False, np.arange(6) == 2
    q[~avail] = 1e6
    got = td.standardised_available(jnp.asarray(q, jnp.float32), jnp.asarray(avail))
    for row, values, there in zip(np.asarray(got), q, avail, strict=True):
        assert (row[~there] == 0).all()
        if there.sum() < 2:
            assert not row.any()
            continue
        own = values[there]
        expected = (own - own.mean()) / np.sqrt(own.var() + 1e-5)
        np.testing.assert_allclose(row[there], expected, rtol=1e-4, atol=1e-5)


def test_masked_mean():
    g = np.random.default_rng(1)
    x, mask = g.normal(size=(4, 3)), g.integers(0, 2, (4, 3)).astype(float)
    got = td.masked_mean(jnp.asarray(x), jnp.asarray(mask))
    assert got == pytest.approx(x[mask > 0].mean(), rel=1e-5)
    wide = g.normal(size=(4, 3, 2))
    got = td.masked_mean(jnp.asarray(wide), jnp.asarray(mask))
    assert got == pytest.approx(wide[mask > 0].mean(), rel=1e-5)
    assert td.masked_mean(jnp.asarray(x), jnp.zeros((4, 3))) == 0


def test_in_rounds_targets_are_the_same():
    k = jax.random.split(jax.random.key(3), 5)
    reward, on = jax.random.normal(k[0], (2, 13, 3, 1))
    value = jax.random.normal(k[1], (13, 3, 2))
    end = jax.random.bernoulli(k[2], 0.2, (13, 3, 1)).astype(float)
    on = jax.random.bernoulli(k[3], 0.8, on.shape).astype(float)
    args = reward, end, value, on, jnp.float32(0.9), jnp.float32(0.7)
    np.testing.assert_allclose(
        td._in_rounds(*args), td._step_by_step(*args), rtol=1e-5, atol=1e-5
    )
