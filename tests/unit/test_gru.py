"""The recurrence with its own gradient rule against a plain scan and against flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.nets.agents import Recurrent, features
from rolemarl_jax.nets.layers import GRU, MLP, Linear
from rolemarl_jax.ops import scan
from rolemarl_jax.types import Inputs

T, B, N, H = 7, 2, 3, 5
gru = jax.jit(scan.gru)


def plain(projected, w, b_in, b, h0, reset):
    """The same recurrence as an ordinary scan, differentiated by jax."""

    def step(h, xs):
        x, new = xs
        new = new.reshape(new.shape + (1,) * (h.ndim - new.ndim))
        h = jnp.where(new, 0.0, h)
        xr, xz, xn = jnp.split(x + b_in, 3, -1)
        hr, hz, hn = jnp.split(h @ w + b, 3, -1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
        return h, h

    return jax.lax.scan(step, h0, (projected, reset))[1]


def arguments(seed=0):
    k = jax.random.split(jax.random.key(seed), 6)
    return (
        jax.random.normal(k[0], (T, B, N, 3 * H)),
        0.5 * jax.random.normal(k[1], (H, 3 * H)),
        0.5 * jax.random.normal(k[2], (3 * H,)),
        0.5 * jax.random.normal(k[5], (3 * H,)),
        jax.random.normal(k[3], (B, N, H)),
        jax.random.bernoulli(k[4], 0.3, (T, B)),
    )


def scalar(f, reset):
    weight = jax.random.normal(jax.random.key(9), (T, B, N, H))
    return lambda *args: (f(*args, reset) * weight).sum()


def close(a, b):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b
    )


def grads(f):
    def one(reset, *args):
        return jax.grad(scalar(f, reset), (0, 1, 2, 3, 4))(*args)

    return jax.jit(one)


@pytest.mark.parametrize("form", ["scan", "kernel"])  # neither is a kernel at width 5
def test_values_and_gradients(form):
    *args, reset = arguments()

    @jax.jit
    def differentiated(*args):
        return jax.vjp(lambda *args: scan.gru(*args, reset), *args)[0]

    with scan.computed_as(form):
        close(gru(*args, reset), jax.jit(plain)(*args, reset))
        close(differentiated(*args), gru(*args, reset))
        close(grads(scan.gru)(reset, *args), grads(plain)(reset, *args))


def test_gradients_under_vmap():
    sets = [arguments(seed) for seed in range(3)]
    *args, reset = jax.tree.map(lambda *x: jnp.stack(x), *sets)

    close(jax.vmap(grads(scan.gru))(reset, *args), jax.vmap(grads(plain))(reset, *args))


def test_reset_forgets():
    x, *maps, h0, _ = arguments()
    reset = jnp.zeros((T, B), bool).at[3].set(True)
    other = x.at[:3].add(1.0)
    a, c = gru(x, *maps, h0, reset), gru(other, *maps, h0 + 1, reset)
    assert (a[2] != c[2]).all()
    np.testing.assert_array_equal(a[3:], c[3:])
    fresh = gru(x[3:], *maps, jnp.zeros_like(h0), jnp.zeros((T - 3, B), bool))
    np.testing.assert_array_equal(a[3:], fresh)


def test_reset_of_one_world_only():
    x, *maps, h0, _ = arguments()
    none = jnp.zeros((T, B), bool)
    one = none.at[2, 1].set(True)
    a, c = gru(x, *maps, h0, none), gru(x, *maps, h0, one)
    np.testing.assert_array_equal(a[:, 0], c[:, 0])
    assert (a[2:, 1] != c[2:, 1]).any()


def test_flax_cell():
    """flax's GRUCell has one bias for r and z; ours has two and they add up."""
    x, *_, h0, _ = arguments()
    raw = x[..., :4]
    params = GRU(H).init(jax.random.key(0), raw, h0, jnp.zeros((T, B), bool))
    p = params["params"]
    split = lambda y: dict(zip("rzn", jnp.split(y, 3, -1), strict=True))  # noqa: E731
    w_in, b_in, w, b = (split(p[n]) for n in ("w_in", "b_in", "w", "b"))
    cell = {f"i{g}": {"kernel": w_in[g], "bias": b_in[g] + b[g]} for g in "rz"}
    cell |= {f"h{g}": {"kernel": w[g]} for g in "rz"}
    cell |= {
        "in": {"kernel": w_in["n"], "bias": b_in["n"]},
        "hn": {"kernel": w["n"], "bias": b["n"]},
    }
    h, outs = h0, []
    for t in range(T):
        h, out = nn.GRUCell(H).apply({"params": cell}, h, raw[t])
        outs.append(out)
    ours = GRU(H).apply(params, raw, h0, jnp.zeros((T, B), bool))
    close(ours, jnp.stack(outs))


def test_sequence_equals_step_by_step():
    """Acting carries the state; learning unrolls it: the same outputs."""
    net, k = Recurrent(H, 4), jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(k[0], (T, B, N, 6))
    reset = jnp.zeros((T, B), bool).at[0].set(True).at[4, 1].set(True)
    h = jnp.zeros((B, N, H))
    params = net.init(k[1], x, h, reset)
    apply = jax.jit(net.apply)
    out, hs = apply(params, x, h, reset)
    for t in range(T):
        now, moved = apply(params, x[t : t + 1], h, reset[t : t + 1])
        h = moved[-1]
        np.testing.assert_allclose(now[0], out[t], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(h, hs[t], rtol=1e-5, atol=1e-6)


def test_initialisation_is_pytorchs():
    linear = Linear(4000).init(jax.random.key(0), jnp.zeros((1, 16)))["params"]
    for value in linear.values():
        assert 0.245 < np.abs(value).max() <= 0.25
    gru = GRU(25).init(
        jax.random.key(0),
        jnp.zeros((1, 1, 8)),
        jnp.zeros((1, 25)),
        jnp.zeros((1, 1), bool),
    )["params"]
    for value in gru.values():
        assert 0.15 < np.abs(value).max() <= 0.2


def test_mlp():
    net, x = MLP((3, 2)), jnp.array([[1.0, -2.0]])
    p = net.init(jax.random.key(1), x)["params"]
    first, second = (jax.tree.map(np.asarray, p[f"Linear_{i}"]) for i in (0, 1))
    hidden = np.maximum(np.asarray(x) @ first["kernel"] + first["bias"], 0)
    np.testing.assert_allclose(
        net.apply({"params": p}, x),
        hidden @ second["kernel"] + second["bias"],
        rtol=1e-5,
    )


def test_features():
    last = jnp.array([[[-1, 2]]])
    x = Inputs(jnp.array([[[[5.0], [6.0]]]]), last, jnp.zeros((1, 1), bool))
    got = features(x, 3, last_action=True, agent_id=True)[0, 0]
    np.testing.assert_array_equal(got, [[5, 0, 0, 0, 1, 0], [6, 0, 0, 1, 0, 1]])
    assert features(x, 3, last_action=False, agent_id=False).shape == (1, 1, 2, 1)
