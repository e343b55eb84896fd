"""EOI against plain NumPy: intrinsic values, who learns from which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eoi_reference import (
    GAMMA,
    A,
    N,
    intrinsic,
    method_of,
    own,
    phase_loss,
    probabilities,
    q_of,
    state_of,
    update,
)
from support import SPEC, learner_of, load_algo, random_batch

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.ops import td
from rolemarl_jax.roles import eoi, plain
from rolemarl_jax.roles.parts.phase import Context

# Shared and own weights, action values that the IVF reads standardised or raw.
CASES = [("eoi", True), ("eoi_grid", True), ("eoi_grid", False)]


@pytest.fixture(scope="module")
def batch():
    return random_batch(SPEC, T=7, B=4, lengths=[7, 4, 2, 6])


@pytest.fixture(scope="module")
def qmix_step(batch):
    """QMIX's parameters after one update."""
    return update("qmix", {}, batch).params


# Intrinsic values


@pytest.mark.parametrize(("algo", "scaled"), CASES)
def test_intrinsic_value_loss(batch, algo, scaled):
    method = method_of(algo, standardise=scaled)
    state = state_of(method)
    ctx = Context(state, batch, jax.random.key(0))
    losses = phase_loss(method, "ivf", ctx).losses
    obs, shared = np.asarray(batch.obs), algo == "eoi"
    q, target_q = (
        np.asarray(q_of(method, p, batch)) for p in (state.params, state.target)
    )
    avail = np.asarray(batch.avail)
    value = intrinsic(state.params["ivf"], obs, avail, q, shared, scaled)[:-1]
    ahead = intrinsic(state.aux["ivf"], obs, avail, target_q, shared, scaled)[1:]
    goes_on = 1.0 - np.asarray(batch.terminated, float)[..., None]
    reward = own(probabilities(state.params, obs[:-1])) - 1 / N
    error = value - (reward + GAMMA * goes_on * ahead)
    np.testing.assert_allclose(losses["ivf"], (error**2).mean(-1), rtol=1e-4)
    assert set(method.phases[1].lr) == {"ivf"}


@pytest.mark.slow
def test_target_of_the_intrinsic_value_function_is_a_slow_copy(batch):
    # A rate at which a slow copy moves by more than numbers are compared to.
    learner = learner_of("eoi", SPEC, {"role": {"ivf_lr": 0.1}})
    state = jax.jit(learner.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.aux["ivf"], state.params["ivf"])
    new = learner.update(state, batch, 0, jax.random.key(1)).state
    jax.tree.map(
        lambda old, online, got: np.testing.assert_allclose(
            got, 0.995 * old + 0.005 * online, rtol=1e-4, atol=1e-6
        ),
        state.aux["ivf"],
        new.params["ivf"],
        new.aux["ivf"],
    )
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, new.params)
    assert all(any(jax.tree.leaves(tree)) for tree in moved.values())


@pytest.mark.parametrize(("algo", "scaled"), CASES)
def test_auxiliary_gradient(batch, algo, scaled):
    """Chain rule of eq. 7: dQ^p/dQ^a by finite differences, then through the network.

    It reaches the utility network and nothing else.
    """
    method = method_of(algo, standardise=scaled)
    state = state_of(method)
    ctx = Context(state, batch, jax.random.key(0))
    zeros = method.carry(batch.reward.shape[1])

    def ours(params):
        out = method.q_values(params, batch.inputs, {}, zeros)[0]
        losses = method.extra_losses(params, ctx, out)
        return (losses["individuality"] * batch.mask).sum()

    grads = jax.jit(jax.grad(ours))(state.params)
    trained = {g for g, t in grads.items() if any(map(jnp.any, jax.tree.leaves(t)))}
    assert trained == {"agent"}

    # Float64 differences of the NumPy form, a column of actions at a time.
    ivf = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params["ivf"])
    obs, avail = np.asarray(batch.obs[:-1], np.float64), np.asarray(batch.avail[:-1])
    q = np.asarray(q_of(method, state.params, batch)[:-1], np.float64)
    slope = np.zeros_like(q)
    for a in range(A):
        up, down = q.copy(), q.copy()
        up[..., a] += 1e-6
        down[..., a] -= 1e-6
        values = [
            intrinsic(ivf, obs, avail, x, algo == "eoi", scaled) for x in (up, down)
        ]
        slope[..., a] = (values[0] - values[1]) / 2e-6
    weight = jnp.asarray(-slope * np.asarray(batch.mask)[..., None, None], jnp.float32)

    def chained(agent):
        values = q_of(method, {**state.params, "agent": agent}, batch)
        return (weight * values[:-1]).sum()

    expected = jax.jit(jax.grad(chained))(state.params["agent"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        grads["agent"],
        expected,
    )


def test_agents_feel_their_own_intrinsic_value_only(batch):
    """Without sharing, agent i's weights get the gradient of Q^p_i alone, times one."""
    method = method_of("eoi_grid")
    state = state_of(method)
    ctx = Context(state, batch, jax.random.key(0))
    cfg = build(eoi.Config, load_algo("eoi_grid")["role"], "algo.role")
    setup = eoi.Setup(
        cfg,
        SPEC,
        plain.make(cfg.agent, SPEC),
        None,
        eoi.unshared(eoi.MLP, (2,))((128, 128, 1)),
    )

    def total(agent):
        out = method.q_values({"agent": agent}, batch.inputs, {}, {})[0]
        return method.extra_losses(state.params, ctx, out)["individuality"].sum()

    def alone(agent, i):
        q = method.q_values({"agent": agent}, batch.inputs, {}, {})[0].q[:-1]
        x, avail = jax.tree.map(lambda v: v[:-1], (batch.inputs, batch.avail))
        ivf = state.params["ivf"]
        return -eoi.intrinsic_values(setup, ivf, x, avail, q)[..., i].sum()

    together = jax.jit(jax.grad(total))(state.params["agent"])
    single = jax.jit(jax.grad(alone))
    for i in range(N):
        one = single(state.params["agent"], i)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b[i], rtol=1e-4),
            together,
            one,
        )
        assert not any(np.delete(x, i, 0).any() for x in jax.tree.leaves(one))


@pytest.mark.parametrize(
    ("algo", "over"),
    [
        ("eoi", {"loss_scales": {"individuality": 0.0}}),
        pytest.param("eoi_explore", {}, marks=pytest.mark.slow),
    ],
)
def test_without_the_auxiliary_gradient_it_is_qmix(batch, qmix_step, algo, over):
    """Utility network and mixer learn exactly as QMIX's do."""
    params = update(algo, over, batch).params
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        {group: params[group] for group in qmix_step},
        qmix_step,
    )


# Learning from others


def test_scaled_gradients():
    x, w = jnp.array([1.0, 2.0]), jnp.array([0.5, 3.0])
    np.testing.assert_array_equal(td.scale_gradient(x, w), x)
    grad = jax.grad(lambda x: (td.scale_gradient(x, w) ** 2).sum())(x)
    np.testing.assert_allclose(grad, 2 * x * w)


def test_borrowed_experience(batch):
    batch = random_batch(SPEC, T=5, B=10)
    method = method_of("eoi", borrow=0.2)
    state = state_of(method)
    changed = total = 0
    for seed in range(6):
        ctx = Context(state, batch, jax.random.key(seed))
        new, weight = method.experience(ctx)
        p = own(probabilities(state.params, new.obs))
        traded = np.asarray((weight != 1).any((0, 2)))
        total += traded.sum()
        for b in range(10):
            places = [
                [j for j in range(N) if (new.obs[:, b, i] == batch.obs[:, b, j]).all()]
                for i in range(N)
            ]
            order = [j for (j,) in places]
            assert sorted(order) == list(range(N))
            changed += order != list(range(N))
            assert traded[b] or order == list(range(N))
            for name in ("obs", "action", "avail", "last_action"):
                moved, old = getattr(new, name), getattr(batch, name)
                np.testing.assert_array_equal(moved[:, b], old[:, b][:, order])
            expected = p[:, b] if traded[b] else 1.0
            np.testing.assert_allclose(weight[:, b], expected, rtol=1e-4)
        for name in ("state", "reward", "reset", "mask", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(new, name), getattr(batch, name))
    assert changed > 3 and 6 <= total <= 20


def test_a_small_share_of_few_rows_is_borrowed_now_and_then():
    """As of the 8 worlds of a TD step, of which 5 per cent are less than one."""
    batch = random_batch(SPEC, T=2, B=8)
    method = method_of("eoi", borrow=0.05)
    ctx = Context(state_of(method), batch, None)
    weights = jax.jit(
        jax.vmap(lambda key: method.experience(ctx._replace(key=key))[1])
    )(jax.random.split(jax.random.key(0), 400))
    traded = np.asarray((weights != 1).any((1, 3)))
    assert traded.shape == (400, 8) and abs(traded.mean() - 0.05) < 0.015


@pytest.mark.slow
def test_borrowing_is_off_by_default_and_runs_when_on(batch):
    default = method_of("eoi")
    assert default.experience(Context(None, batch, None)) == (batch, None)
    found = []
    for borrow in (0.0, 0.5):
        learner = learner_of("eoi_grid", SPEC, {"role": {"borrow": borrow}})
        state = jax.jit(learner.init)(jax.random.key(0))
        found.append(learner.update(state, batch, 0, jax.random.key(1)).metrics)
    without, borrowed = found
    assert all(np.isfinite(value) for value in borrowed.values())
    assert borrowed["td/loss_td"] != without["td/loss_td"]
    assert borrowed["ivf/loss_ivf"] == without["ivf/loss_ivf"]


@pytest.mark.parametrize(("key", "value"), [("borrow", 1.5), ("window", 0)])
def test_impossible_numbers(key, value):
    with pytest.raises(ConfigError, match=rf"algo\.role\.{key}: got {value}"):
        method_of("eoi", **{key: value})


def test_nested_keys_are_named():
    role = load_algo("eoi")["role"]
    role["agent"] = role["agent"] | {"hiden": 3}
    with pytest.raises(ConfigError, match=r"algo\.role\.agent\.hiden.*'hidden'"):
        build(eoi.Config, role, "algo.role")
