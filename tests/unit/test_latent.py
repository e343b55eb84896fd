"""Categorical latents and the scan of the world model's recurrence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.ops import latent, latent_scan

UNIMIX = 0.01


def close(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)


def test_latent_distribution_and_divergences():
    g = np.random.default_rng(0)
    a, b = g.normal(size=(2, 4, 2, 3))

    def mixed(x):
        e = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        return 0.99 * e + 0.01 / 3

    p, q = mixed(a), mixed(b)
    log_p, log_q = (latent.mixed_log_probs(jnp.asarray(x), 0.01) for x in (a, b))
    close(jnp.exp(log_p), p)
    expected = (p * np.log(p / q)).sum((-1, -2))
    close(latent.kl(log_p, log_q), expected)
    free = float(np.median(expected))
    value = latent.balanced_kl(log_p, log_q, 0.5, 0.1, free)
    close(value, 0.6 * np.maximum(expected, free))
    both = jax.grad(
        lambda p, q: latent.balanced_kl(p, q, 0.5, 0.1, free).sum(), argnums=(0, 1)
    )(log_p, log_q)
    plain = jax.grad(lambda p, q: latent.kl(p, q).sum(), argnums=(0, 1))(log_p, log_q)
    moved = (expected > free)[:, None, None]
    for found, full, weight in zip(both, plain, (0.1, 0.5), strict=True):
        close(found, weight * moved * full)


def test_samples_follow_their_probabilities():
    probs = np.array([0.5, 0.1, 0.0, 0.4])
    uniform = (jnp.arange(1000) + 0.5) / 1000
    rows = jnp.log(jnp.asarray(probs) + 1e-12) * jnp.ones((1000, 1))
    drawn = latent.straight_through(rows, uniform)
    assert (drawn.sum(-1) == 1).all() and set(np.unique(drawn)) == {0.0, 1.0}
    close(drawn.mean(0), probs, 2e-3)
    edge = latent.straight_through(rows[:2], jnp.array([0.0, 1 - 2.0**-24]))
    np.testing.assert_array_equal(edge.argmax(-1), [0, 3])
    weight = jnp.arange(4.0)
    grad = jax.grad(lambda x: (latent.straight_through(x, uniform) @ weight).sum())
    close(grad(rows), jnp.exp(rows) * weight)


def test_one_class_is_always_drawn():
    drawn = latent.straight_through(jnp.zeros((3, 1)), jnp.array([0.0, 0.5, 0.999]))
    np.testing.assert_array_equal(drawn, np.ones((3, 1)))


def test_small_errors_count_as_none():
    x = jnp.array([[1.0, -2.0]])
    exact = latent.symlog(x)
    close(exact, [[np.log(2), -np.log(3)]])
    assert latent.symlog_error(exact + 5e-5, x) == 0
    close(latent.symlog_error(exact + 0.1, x), [0.02])


@pytest.mark.parametrize("sampled", [True, False])
def test_gradient_of_the_scan_is_that_of_plain_differentiation(sampled):
    T, R, H, D, S, C = 5, 4, 3, 2, 2, 3
    g = np.random.default_rng(0)
    rand = lambda *shape: jnp.asarray(g.normal(size=shape), jnp.float32)  # noqa: E731
    norm = lambda n: latent_scan.Norm(rand(n), rand(n))  # noqa: E731
    matrices = latent_scan.Matrices(
        rand(S * C, H), rand(H + D, 3 * D), rand(D, H), rand(H, S * C)
    )
    vectors = latent_scan.Vectors(
        norm(H), norm(3 * D), norm(H), rand(S * C), rand(D), rand(S, C)
    )
    noise = jnp.asarray(g.random((T, R, S)), jnp.float32) if sampled else None
    reset = jnp.asarray(g.random((T, R)) < 0.3)
    into, seen = rand(T, R, H), rand(T, R, H)
    weights = rand(T, R, D), rand(T, R, S, C), rand(T, R, S, C)

    def plain(matrices, vectors, sequence):
        h = jnp.broadcast_to(vectors.deter, (R, D))
        s = jnp.broadcast_to(vectors.latent.reshape(-1), (R, S * C))
        rows = []
        for t in range(T):
            begins = sequence.reset[t][:, None]
            h = jnp.where(begins, vectors.deter, h)
            s = jnp.where(begins, vectors.latent.reshape(-1), s)
            x = sequence.into[t] + s @ matrices.latent
            x = latent_scan.activation(x, vectors.norm_in)
            parts = jnp.concatenate([x, h], -1) @ matrices.cell
            h = latent_scan.gates(parts, h, vectors.norm_cell)
            y = sequence.seen[t] + h @ matrices.deter
            y = latent_scan.activation(y, vectors.norm_out)
            logits = (y @ matrices.logits + vectors.logits).reshape(R, S, C)
            log_probs = latent.mixed_log_probs(logits, UNIMIX)
            uniform = None if noise is None else noise[t]
            drawn = latent.straight_through(log_probs, uniform)
            s = drawn.reshape(R, S * C)
            rows.append((h, log_probs, drawn))
        return [jnp.stack(x) for x in zip(*rows, strict=True)]

    def objective(run):
        def total(matrices, vectors, into, seen):
            sequence = latent_scan.Sequence(into, seen, noise, reset)
            out = run(matrices, vectors, sequence)
            return sum((w * x).sum() for w, x in zip(weights, out, strict=True))

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))

    args = matrices, vectors, into, seen
    ours = objective(lambda *a: latent_scan.observe(UNIMIX, *a))(*args)
    expected = objective(plain)(*args)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        close(a, b, 1e-4)
