"""Mixers and attention against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, load_algo, merge

from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.nets.attention import AttentionContext, StateEncoder, attend
from rolemarl_jax.nets.mixers import make_mixer

T, B, N, Z = 4, 2, SPEC.n_agents, 6
MIXERS = {
    name: load_algo(algo)["mixer"]
    for name, algo in {
        "none": "iql",
        "vdn": "vdn",
        "qmix": "qmix",
        "attention": "acorm",
        "recurrent": "acorm_no_attention",
    }.items()
} | {
    name: merge(load_algo("qmix")["mixer"], change)
    for name, change in {
        "qmix_one_layer": {"hypernet_layers": 1},
        "qmix_normed": {"normed": True},
    }.items()
}


def inputs(seed=0):
    k = jax.random.split(jax.random.key(seed), 4)
    return (
        jax.random.normal(k[0], (T, B, N)),
        jax.random.normal(k[1], (T, B, SPEC.state_dim)),
        jax.random.bernoulli(k[2], 0.2, (T, B)),
        {"role": jax.random.normal(k[3], (T, B, N, 64))},
    )


FEATS = {"role": jnp.zeros((T, B, N, 64))}


def mix(mixer, params, qs, state, reset, feats):
    return mixer.mix(params, qs, mixer.encode(params, state, reset), feats)


@pytest.mark.parametrize("name", MIXERS)
def test_monotonic_in_every_agent(name):
    mixer = make_mixer(MIXERS[name], SPEC)
    params = jax.jit(mixer.init)(jax.random.key(1), FEATS)
    qs, *rest = inputs()

    @jax.jit
    def both(qs):
        out, pull = jax.vjp(lambda qs: mix(mixer, params, qs, *rest), qs)
        return out, pull(jnp.ones_like(out))[0]

    out, slope = jax.tree.map(np.asarray, both(qs))
    assert out.shape == ((T, B, N) if name == "none" else (T, B))
    assert (slope >= 0).all() and slope.max() > 0
    assert set(mixer.groups) == set(params)
    assert set(mixer.target_groups) <= set(mixer.groups)
    assert set(mixer.encoders) <= set(mixer.groups)


def test_sum_and_none():
    qs, *rest = inputs()
    np.testing.assert_allclose(
        mix(make_mixer({"name": "vdn"}, SPEC), {}, qs, *rest), np.sum(qs, -1), rtol=1e-6
    )
    assert mix(make_mixer({"name": "none"}, SPEC), {}, qs, *rest) is qs


def affine(p, x):
    return x @ np.asarray(p["kernel"]) + np.asarray(p["bias"])


def mlp(p, x):
    names = sorted(p)
    for name in names[:-1]:
        x = np.maximum(affine(p[name], x), 0)
    return affine(p[names[-1]], x)


def monotonic(p, qs, context):
    """QMIX's mixing network for one row of values and one of features."""
    if "norm" in p:
        centred = context - context.mean()
        context = centred / np.sqrt((centred**2).mean() + 1e-5)
        context = context * np.asarray(p["norm"]["scale"]) + np.asarray(
            p["norm"]["bias"]
        )
    w1 = np.abs(mlp(p["w1"], context)).reshape(len(qs), -1)
    hidden = qs @ w1 + affine(p["b1"], context)
    hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    return hidden @ np.abs(mlp(p["w2"], context)) + mlp(p["v"], context)[0]


@pytest.mark.parametrize("name", ["qmix", "qmix_one_layer", "qmix_normed"])
def test_qmix(name):
    mixer = make_mixer(MIXERS[name], SPEC)
    params = jax.jit(mixer.init)(jax.random.key(2), FEATS)
    if name == "qmix_normed":  # numbers of its own, as after training
        norm, g = params["mixer"]["params"]["norm"], np.random.default_rng(1)
        norm |= {k: jnp.asarray(x + g.normal(size=x.shape)) for k, x in norm.items()}
    qs, state, *rest = inputs()
    p = params["mixer"]["params"]
    assert len(p["w1"]) == (1 if name == "qmix_one_layer" else 2)
    expected = [
        [monotonic(p, np.asarray(qs[t, b]), np.asarray(state[t, b])) for b in range(B)]
        for t in range(T)
    ]
    got = jax.jit(partial(mix, mixer))(params, qs, state, *rest)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def in_numpy(p, query, roles, heads):
    """Multi-head attention of one time step, head by head."""
    q, k = (x @ np.asarray(p[n]["kernel"]) for n, x in (("q", query), ("k", roles)))
    v = affine(p["v"], roles)
    outs = []
    for mine in np.split(np.arange(q.shape[-1]), heads):
        score = np.exp(q[:, mine] @ k[:, mine].T / np.sqrt(len(mine)))
        outs.append(score / score.sum(-1, keepdims=True) @ v[:, mine])
    return affine(p["o"], np.concatenate(outs, -1))


def test_attention():
    k = jax.random.split(jax.random.key(0), 3)
    query, roles = jax.random.normal(k[0], (N, 5)), jax.random.normal(k[1], (N, Z))
    net = AttentionContext(heads=2, width=8, out=3)
    params = net.init(k[2], query, roles)
    expected = in_numpy(params["params"], np.asarray(query), np.asarray(roles), 2)
    np.testing.assert_allclose(
        net.apply(params, query, roles), expected, rtol=1e-4, atol=1e-5
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gradients_of_attention():
    """Its own gradient rule against jax's, of inputs that differ in every axis."""

    def plain(query, key, value):
        scores = jnp.einsum("tbid,tbjd->tbij", query, key) / query.shape[-1] ** 0.5
        return jnp.einsum("tbij,tbjd->tbid", jax.nn.softmax(scores), value)

    keys = jax.random.split(jax.random.key(4), 4)
    query, key, value, weight = (jax.random.normal(k, (T, B, N, 5)) for k in keys)

    @jax.jit
    def both(*args):
        def grads(rule):
            return jax.grad(lambda *a: (rule(*a) * weight).sum(), (0, 1, 2))(*args)

        return grads(attend), grads(plain)

    for ours, want in zip(*both(query, key, value), strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-6)


def test_attention_mixer():
    """The whole of ACORM's mixer, state history included, in plain NumPy."""
    mixer = make_mixer(MIXERS["attention"], SPEC)
    params = jax.jit(mixer.init)(jax.random.key(3), FEATS)
    qs, state, reset, feats = inputs()
    got = jax.jit(partial(mix, mixer))(params, qs, state, reset, feats)
    s = jax.tree.map(np.asarray, params["state_encoder"]["params"])
    p = params["mixer"]
    embedded = np.maximum(affine(s["Linear_0"], np.asarray(state)), 0)
    gru = s["GRU_0"]
    h = np.zeros((B, gru["w"].shape[0]))
    for t in range(T):
        h = np.where(np.asarray(reset[t])[:, None], 0, h)
        x, y = embedded[t] @ gru["w_in"] + gru["b_in"], h @ gru["w"] + gru["b"]
        (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, -1), np.split(y, 3, -1)
        z = sigmoid(xz + hz)
        h = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
        for b in range(B):
            roles = np.asarray(feats["role"][t, b])
            out = in_numpy(p["attention"]["params"], h[b].reshape(N, -1), roles, 4)
            context = np.concatenate([embedded[t, b], out.ravel()])
            expected = monotonic(
                p["monotonic"]["params"], np.asarray(qs[t, b]), context
            )
            np.testing.assert_allclose(got[t, b], expected, rtol=1e-4, atol=1e-4)


def test_state_encoder_starts_anew():
    net = StateEncoder(N, 4)
    state = jax.random.normal(jax.random.key(0), (T, B, SPEC.state_dim))
    reset = jnp.zeros((T, B), bool).at[2].set(True)
    params = net.init(jax.random.key(1), state, reset)
    a = net.apply(params, state, reset)[1]
    b = net.apply(params, state.at[:2].add(1), reset)[1]
    np.testing.assert_array_equal(a[2:], b[2:])
    assert (a[1] != b[1]).any() and a.shape == (T, B, N, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "qmixx"}, "did you mean 'qmix'"),
        ({"hypernet_layers": 3}, "hypernet_layers: got 3, allowed: 1, 2"),
        ({"embed": "x"}, "algo.mixer.embed"),
        ({"width": 3}, "algo.mixer.width: unknown key"),
    ],
)
def test_refusals(change, words):
    with pytest.raises(ConfigError, match=words):
        make_mixer(merge(MIXERS["qmix"], change), SPEC)


def test_heads_divide_the_width():
    with pytest.raises(ConfigError, match=r"algo\.mixer\.heads: got 3"):
        make_mixer(merge(MIXERS["attention"], {"heads": 3}), SPEC)


@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("acorm", {"mixer": {"query": 8}}),
        ("acorm", {"role": {"role": 6}}),
        ("pqn_r3dm", {"mixer": {"query": 8}, "role": {"role": 6}}),
    ],
)
def test_roles_may_be_wider_or_narrower_than_queries(name, over):
    learner = make_learner(merge(load_algo(name), over), SPEC)
    params = jax.eval_shape(learner.init, jax.random.key(0)).params
    assert "state_encoder" in params


def test_attention_needs_roles():
    algo = {**load_algo("qmix"), "mixer": load_algo("acorm")["mixer"]}
    with pytest.raises(ConfigError, match="'attention', which reads roles"):
        make_learner(algo, SPEC)
