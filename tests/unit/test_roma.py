"""ROMA against plain NumPy: its losses, who learns from which, and its roles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, learner_of, load_algo, random_batch

from rolemarl_jax.config import build
from rolemarl_jax.nets.roma import NormHead
from rolemarl_jax.ops import info
from rolemarl_jax.ops.info import Gaussian
from rolemarl_jax.roles import make_method, roma
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.types import AgentState, Observation

N, Z = SPEC.n_agents, 3
ROLE_LOSSES = ("identifiability", "specialisation")


def method_of(**keys):
    return make_method(load_algo("roma")["role"] | keys, SPEC)


@pytest.fixture(scope="module")
def params():
    return jax.jit(method_of().init)(jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    return random_batch(SPEC, T=6, B=3, lengths=[6, 4, 2])


def unroll(method, params, x, key):
    def run(params, x, key):
        zeros = method.carry(x.obs.shape[1])
        feats, _ = method.encode(params, x, zeros, key)
        return method.q_values(params, x, feats, zeros)[0]

    return jax.jit(run)(params, x, key)


def role_losses(method, params, batch, key=None):
    def run(params, batch):
        out = unroll(method, params, batch.inputs, key)
        return method.extra_losses(params, Context(None, batch, key), out)

    return jax.jit(run)(params, batch)


def gaussians(seed, *shape):
    g = np.random.default_rng(seed)
    mean, var = g.normal(size=(*shape, Z)), g.uniform(0.002, 2.0, size=(*shape, Z))
    return mean, var


def log_density(mean, var, x):
    return -0.5 * np.log(2 * np.pi * var) - (x - mean) ** 2 / (2 * var)


def test_gaussian_measures():
    mean, var = gaussians(0, 4)
    other_mean, other_var = gaussians(1, 4)
    p, q = Gaussian(mean, var), Gaussian(other_mean, other_var)
    np.testing.assert_allclose(
        info.entropy(p), np.log(np.sqrt(2 * np.pi * np.e * var)).sum(-1), rtol=1e-5
    )
    expected = (
        np.log(np.sqrt(other_var / var))
        + (var + (mean - other_mean) ** 2) / (2 * other_var)
        - 0.5
    ).sum(-1)
    np.testing.assert_allclose(info.kl(p, q), expected, rtol=1e-5)
    np.testing.assert_allclose(info.kl(p, p), 0.0, atol=1e-6)
    np.testing.assert_allclose(
        info.log_density(p, other_mean), log_density(mean, var, other_mean), rtol=1e-5
    )
    wide = Gaussian(jnp.full(200_000, 2.0), jnp.full(200_000, 9.0))
    drawn = np.asarray(info.sample(wide, jax.random.key(0)))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [2.0, 3.0], atol=0.03)


def test_soften_does_not_overflow():
    x = jnp.array([0.0, 3.0, 500.0, 1e9])
    expected = [np.log(2), np.log1p(np.exp(3.0)), 500.0, 2000.0]
    np.testing.assert_allclose(info.soften(x, 2000.0), expected, rtol=1e-6)
    assert jax.grad(lambda x: info.soften(x, 2000.0))(1e9) == 0


@pytest.mark.parametrize(("weight", "enough"), [(1.0, 1.0), (0.5, 0.7)])
def test_specialisation_by_loops(weight, enough):
    mean, var = gaussians(2, N)
    # A role far from everything meets the floor of the log density.
    role = np.random.default_rng(3).normal(size=(N, Z))
    role[1] += 100.0
    d = np.random.default_rng(4).uniform(size=(N, N))
    m = np.zeros((N, N))
    for i in range(N):
        for s in range(N):
            j = (i - s - 1) % N
            density = log_density(mean[i], var[i], role[j]) + 13.9
            m[i, s] = np.maximum(density, -13.9).sum() / Z
    m = (m - m.min()) / (m.max() - m.min())
    scaled = (d - d.min()) / (d.max() - d.min())
    expected = scaled.sum() - weight * np.minimum(m + scaled, enough).sum()
    others = info.shifted(jnp.asarray(role))
    np.testing.assert_array_equal(others[:, -1], jnp.asarray(role))
    got = info.specialisation(Gaussian(mean, var), others, d, weight, enough)
    np.testing.assert_allclose(got, expected / N**2, rtol=1e-5)


def test_equal_agents_have_finite_gradients():
    """All pairs alike: the range to be scaled to [0, 1] is empty."""

    def loss(mean):
        p = Gaussian(mean, jnp.ones_like(mean))
        others = info.shifted(mean)
        return info.specialisation(p, others, jnp.zeros((N, N)), 1.0, 1.0)

    assert np.isfinite(jax.grad(loss)(jnp.zeros((N, Z)))).all()


@pytest.mark.parametrize("kl_only", [False, True])
def test_losses_of_the_method(params, batch, kl_only):
    """The method's losses are the formulas, on its own networks' outputs."""
    method = method_of(kl_only=kl_only, entropy_weight=0.3, kl_weight=0.2)
    out = unroll(method, params, batch.inputs, jax.random.key(1))
    p = Gaussian(*(np.asarray(out.feats[n])[:-1] for n in ("role_mean", "role_var")))
    hidden = np.asarray(out.feats["hidden"])
    before = np.concatenate([np.zeros_like(hidden[:1]), hidden])[:-2]
    one_hot = np.eye(SPEC.n_actions)[batch.last_action[:-1]]
    one_hot[np.asarray(batch.last_action[:-1]) < 0] = 0
    ids = np.broadcast_to(np.eye(N), (*one_hot.shape[:-1], N))
    seen = np.concatenate([before, batch.obs[:-1], one_hot, ids], -1)
    head = NormHead(16, 2 * Z, (-1,)).apply(params["trajectory"], jnp.asarray(seen))
    q = Gaussian(head[..., :Z], np.maximum(np.exp(head[..., Z:]), 0.002))
    divergence, vague = np.asarray(info.kl(p, q)), np.asarray(info.entropy(p))
    expected = 0.2 * divergence.mean(-1)
    if not kl_only:
        expected = np.log1p(np.exp(expected + 0.3 * vague.mean(-1)))
    losses = method.extra_losses(params, Context(None, batch, None), out)
    np.testing.assert_allclose(losses["identifiability"], expected, rtol=1e-4)


def test_judge_of_roles(params, batch):
    """`mi_from_infer` changes specialisation, and only that."""
    one, two = (
        role_losses(method_of(mi_from_infer=flag), params, batch)
        for flag in (False, True)
    )
    np.testing.assert_array_equal(one["identifiability"], two["identifiability"])
    assert np.abs(one["specialisation"] - two["specialisation"]).max() > 1e-3


@pytest.mark.parametrize(
    ("loss", "keys", "learners"),
    [
        ("identifiability", {}, {"role", "trajectory"}),
        ("specialisation", {}, {"role", "dissimilarity"}),
        (
            "specialisation",
            {"mi_from_infer": True},
            {"role", "dissimilarity", "trajectory"},
        ),
        ("q", {}, {"agent", "role", "decoder"}),
    ],
)
def test_who_learns_from_what(params, batch, loss, keys, learners):
    method, key = method_of(**keys), jax.random.key(1)

    def total(params):
        if loss == "q":
            return (unroll(method, params, batch.inputs, key).q ** 2).sum()
        return role_losses(method, params, batch, key)[loss].sum()

    grads = jax.jit(jax.grad(total))(params)
    trained = {g for g, t in grads.items() if any(map(jnp.any, jax.tree.leaves(t)))}
    assert trained == learners


@pytest.mark.parametrize(
    ("algo", "scales"),
    [("roma_td", (0, 0)), ("roma_td_i", (1, 0)), ("roma_td_d", (0, 1e-3))],
)
def test_ablations_leave_losses_out_and_nothing_else(algo, scales):
    full, ablated = load_algo("roma"), load_algo(algo)
    assert full["loss_scales"] == {
        "td": 1,
        **dict(zip(ROLE_LOSSES, (1, 1e-3), strict=True)),
    }
    expected = {"td": 1, **dict(zip(ROLE_LOSSES, scales, strict=True))}
    assert ablated == full | {"name": algo, "loss_scales": expected}


@pytest.mark.slow
def test_update_without_role_losses_does_not_feel_them(batch):
    learner = learner_of("roma_td", SPEC)
    state, key = jax.jit(learner.init)(jax.random.key(0)), jax.random.key(1)
    other = learner_of("roma_td", SPEC, {"role": {"soft_weight": 7.0, "bound": 0.1}})
    new, changed = (f.update(state, batch, 0, key).state for f in (learner, other))
    jax.tree.map(np.testing.assert_array_equal, new.params, changed.params)
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, new.params)
    still = {g for g, t in moved.items() if not any(jax.tree.leaves(t))}
    assert still == {"trajectory", "dissimilarity"}


def test_decoder_makes_weights(params):
    """Values equal an explicit product with the matrix that the role generates."""
    method = method_of()
    x = random_batch(SPEC).inputs
    out = unroll(method, params, x, jax.random.key(1))
    p = jax.tree.map(np.asarray, params["decoder"]["params"])
    g = np.asarray(out.feats["role"]) @ p["Linear_0"]["kernel"] + p["Linear_0"]["bias"]
    g = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + 1e-5)
    g = g * p["Standardise_0"]["scale"] + p["Standardise_0"]["bias"]
    g = np.where(g > 0, g, 0.01 * g)
    h = np.asarray(out.feats["hidden"])
    w = (g @ p["kernel"] + p["bias"]).reshape((*g.shape[:-1], h.shape[-1], -1))
    b = g @ p["Linear_1"]["kernel"] + p["Linear_1"]["bias"]
    expected = np.einsum("...h,...ha->...a", h, w) + b
    np.testing.assert_allclose(out.q, expected, rtol=1e-4, atol=1e-5)


def test_roles_of_training_are_samples_and_of_tests_are_means(params):
    x = random_batch(SPEC).inputs
    method = method_of()
    draw = [method.encode(params, x, {}, jax.random.key(k))[0] for k in (0, 0, 1)]
    np.testing.assert_array_equal(draw[0]["role"], draw[1]["role"])
    assert (draw[0]["role"] != draw[2]["role"]).all()
    mean = method.encode(params, x, {}, None)[0]
    np.testing.assert_array_equal(mean["role"], mean["role_mean"])
    # Log variances far below the floor, which is 0.002.
    narrow = jax.tree.map(lambda x: x, params)
    narrow["role"]["params"]["Linear_1"]["bias"] -= 100.0
    floor = method.encode(narrow, x, {}, None)[0]["role_var"]
    np.testing.assert_array_equal(floor, np.float32(0.002))

    sampling = method_of(mean_at_test=False)
    first, again = (sampling.encode(params, x, {}, None)[0] for _ in range(2))
    np.testing.assert_array_equal(first["role"], again["role"])
    assert (first["role"] != first["role_mean"]).all()
    noise = (first["role"] - first["role_mean"]) / jnp.sqrt(first["role_var"])
    other = sampling.encode(params, x._replace(obs=x.obs + 1.0), {}, None)[0]
    noise -= (other["role"] - other["role_mean"]) / jnp.sqrt(other["role_var"])
    assert np.abs(noise).max() > 0.1


def test_greedy_policy_is_deterministic(batch):
    learner = learner_of("roma", SPEC)
    state = jax.jit(learner.init)(jax.random.key(0))
    seen = Observation(batch.obs[0], batch.state[0], batch.avail[0])
    agents = AgentState(learner.carry(3), batch.last_action[0], batch.reset[0])

    @jax.jit
    def values():
        return learner.greedy(state, agents, seen)

    one, two = values(), values()
    jax.tree.map(np.testing.assert_array_equal, one, two)
    np.testing.assert_array_equal(one[2]["role"], one[2]["role_mean"])


@pytest.mark.parametrize(("norm", "alone"), [("layer", True), ("batch_train", False)])
def test_only_layer_norm_is_decentralised(norm, alone):
    method = method_of(norm=norm)
    params = jax.jit(method.init)(jax.random.key(0))
    x = random_batch(SPEC).inputs
    changed = x._replace(obs=x.obs.at[:, 0, 0].add(1.0))
    q, other = (unroll(method, params, i, None).q for i in (x, changed))
    assert bool(jnp.all(q[:, :, 1:] == other[:, :, 1:])) is alone
    assert (q[:, 0, 0] != other[:, 0, 0]).any()


def test_losses_start_anew_with_an_episode(params):
    """A row of two episodes has the losses of the two rows."""
    two = random_batch(SPEC, T=4, B=2)
    parts = [jax.tree.map(lambda x, b=b: x[:, b : b + 1], two) for b in range(2)]
    row = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    method = method_of()
    apart, joined = role_losses(method, params, two), role_losses(method, params, row)
    for name in ROLE_LOSSES:
        np.testing.assert_allclose(joined[name][:4, 0], apart[name][:, 0], rtol=1e-5)
        np.testing.assert_allclose(joined[name][5:, 0], apart[name][:, 1], rtol=1e-5)


@pytest.mark.slow
def test_seeds_by_vmap(params, batch):
    """Several seeds at once do what each does alone."""
    method = method_of()
    seeds = jax.tree.map(lambda p: jnp.stack([p, 1.1 * p]), params)
    keys = jax.random.split(jax.random.key(0), 2)

    def gradient(params, key):
        def total(params):
            losses = role_losses(method, params, batch, key)
            q = unroll(method, params, batch.inputs, key).q
            return sum(x.sum() for x in losses.values()) + (q**2).sum()

        return jax.grad(total)(params)

    together = jax.jit(jax.vmap(gradient))(seeds, keys)
    alone = jax.jit(gradient)
    for i in range(2):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4),
            together,
            alone(jax.tree.map(lambda x, i=i: x[i], seeds), keys[i]),
        )


def test_config_is_checked():
    values = load_algo("roma")["role"] | {"norm": "batch"}
    with pytest.raises(ValueError, match=r"algo\.role\.norm"):
        build(roma.Config, values, "algo.role")
