"""EOI against plain NumPy: classifier, intrinsic values, who learns from which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, learner_of, load_algo, random_batch

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.ops import identity, td
from rolemarl_jax.roles import eoi, make_method, plain
from rolemarl_jax.roles.base import Context, Moment
from rolemarl_jax.types import LearnerState, Observation

N, A = SPEC.n_agents, SPEC.n_actions
GAMMA = 0.97
ALGOS = ("eoi", "eoi_grid")
# Shared and own weights, action values that the IVF reads standardised or raw.
CASES = [("eoi", True), ("eoi_grid", True), ("eoi_grid", False)]


@pytest.fixture(scope="module")
def batch():
    return random_batch(SPEC, T=7, B=4, lengths=[7, 4, 2, 6])


@pytest.fixture(scope="module")
def qmix_step(batch):
    """QMIX's parameters after one update."""
    return update("qmix", {}, batch).params


def update(algo, over, batch):
    learner = learner_of(algo, SPEC, over)
    state = jax.jit(learner.init)(jax.random.key(0))
    return jax.jit(learner.update)(state, batch, 0, jax.random.key(1))[0]


def method_of(algo, **keys):
    return make_method(load_algo(algo)["role"] | keys, SPEC)


def state_of(method):
    """A learner state whose targets differ from what they copy."""
    params = jax.jit(method.init)(jax.random.key(0))
    scaled = jax.tree.map(lambda p: 0.7 * p, params)
    aux = {"ivf": scaled["ivf"]}
    hypers = {"gamma": jnp.asarray(GAMMA)}
    return LearnerState(params, {"agent": scaled["agent"]}, {}, aux, hypers)


def phase_loss(method, name, ctx):
    phase = next(p for p in method.phases if p.name == name)
    return jax.jit(lambda ctx: phase.loss(ctx.state.params, ctx))(ctx)


def mlp(params, x, agent=None):
    """ReLU perceptron in NumPy, of one agent where each has its own weights."""
    layers = params["params"]
    for i in range(len(layers)):
        p = layers[f"Linear_{i}"]
        w, b = (np.asarray(p[n]) for n in ("kernel", "bias"))
        if agent is not None:
            w, b = w[agent], b[agent]
        x = x @ w + b
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x


def probabilities(params, obs):
    z = np.exp(mlp(params["classifier"], np.asarray(obs)))
    return z / z.sum(-1, keepdims=True)


def own(p):
    return np.stack([p[..., i, i] for i in range(N)], -1)


def q_of(method, params, batch):
    zeros = method.carry(batch.reward.shape[1])
    return method.q_values(params, batch.inputs, {}, zeros)[0].q


def intrinsic(params, obs, q, shared, standardise=True):
    """Q^p in NumPy, `[T, B, N]`."""
    values = []
    if standardise:
        q = q - q.mean(-1, keepdims=True)
        q = q / np.sqrt(q.var(-1, keepdims=True) + 1e-5)
    for i in range(N):
        ids = np.broadcast_to(np.eye(N)[i], (*obs.shape[:2], N))
        seen = [obs[:, :, i], *([ids] if shared else []), q[:, :, i]]
        x = np.concatenate(seen, -1)
        values.append(mlp(params, x, None if shared else i)[..., 0])
    return np.stack(values, -1)


# The classifier


def test_positives_are_of_the_same_episode_and_near():
    T, B, window = 12, 5, 4
    reset = np.zeros((T, B), bool)
    reset[0], reset[5, 1:], reset[6, 2] = True, True, True
    stamp = np.arange(T)[:, None, None, None] + np.zeros((T, B, N, 2))
    begun = np.maximum.accumulate(np.where(reset, np.arange(T)[:, None], 0))
    draw = jax.jit(lambda key: identity.positives(stamp, reset, window, key))
    seen = set()
    for seed in range(40):
        key = jax.random.key(seed)
        earlier, there = draw(key)
        np.testing.assert_array_equal(there, np.arange(T)[:, None] > begun)
        back = (stamp - earlier)[..., 0][np.asarray(there)]
        age = np.broadcast_to((np.arange(T)[:, None] - begun)[..., None], (T, B, N))
        assert (back >= 1).all()
        assert (back <= np.minimum(age[np.asarray(there)], window)).all()
        seen |= set(back[age[np.asarray(there)] >= window].tolist())
    assert seen == {1, 2, 3, 4}


def test_positives_of_a_window_longer_than_the_row():
    p = jnp.arange(3.0)[:, None, None, None] + jnp.ones((3, 1, N, 2))
    reset = jnp.array([[True], [False], [False]])
    earlier, there = identity.positives(p, reset, 50, jax.random.key(0))
    assert there[:, 0].tolist() == [False, True, True]
    assert (earlier[1] == 1).all() and np.isin(earlier[2], (1, 2)).all()


@pytest.mark.parametrize("algo", ALGOS)
def test_classifier_loss(batch, algo):
    """Cross entropy + beta1 positive distance + beta2 entropy, by hand.

    With a window of one step the positive is the step before.
    """
    method = method_of(algo, window=1)
    state = state_of(method)
    losses, metrics = phase_loss(
        method, "classifier", Context(state, batch, jax.random.key(3))
    )
    p = probabilities(state.params, batch.obs[:-1])
    log_p = np.log(p)
    before = np.concatenate([np.zeros_like(p[:1]), p[:-1]])
    expected = {
        "identity": -own(log_p).mean(-1),
        "mutual_information": -(p * log_p).sum(-1).mean(-1),
        "positive_distance": -(before * log_p).sum(-1).mean(-1),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    mask = np.asarray(batch.mask)
    sure = (own(p).mean(-1) * mask).sum() / mask.sum()
    np.testing.assert_allclose(metrics["probability"], sure, rtol=1e-5)
    beta = {"eoi": (0.01, 0.01), "eoi_grid": (0.04, 0.1)}[algo]
    phase = method.phases[0]
    assert set(phase.lr) == {"classifier"} and phase.scales == {
        "identity": 1.0,
        "positive_distance": beta[0],
        "mutual_information": beta[1],
    }


def test_positives_are_fixed_targets(batch):
    """The gradient of the positive distance is that of cross entropy with constants."""
    method = method_of("eoi", window=1)
    state = state_of(method)
    fixed = probabilities(state.params, batch.obs[:-1])
    fixed = jnp.asarray(np.concatenate([np.zeros_like(fixed[:1]), fixed[:-1]]))

    def given(params):
        logits = eoi.MLP((64, 64, N)).apply(params, batch.obs[:-1])
        return -(fixed * jax.nn.log_softmax(logits)).sum(-1).mean(-1).sum()

    def ours(params):
        ctx = Context(state, batch, jax.random.key(0))
        all_params = {**state.params, "classifier": params}
        return method.phases[0].loss(all_params, ctx)[0]["positive_distance"].sum()

    grads = [jax.jit(jax.grad(f))(state.params["classifier"]) for f in (given, ours)]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *grads
    )


# Intrinsic values


@pytest.mark.parametrize(("algo", "scaled"), CASES)
def test_intrinsic_value_loss(batch, algo, scaled):
    method = method_of(algo, standardise=scaled)
    state = state_of(method)
    losses, _ = phase_loss(method, "ivf", Context(state, batch, jax.random.key(0)))
    obs, shared = np.asarray(batch.obs), algo == "eoi"
    q, target_q = (
        np.asarray(q_of(method, p, batch)) for p in (state.params, state.target)
    )
    value = intrinsic(state.params["ivf"], obs, q, shared, scaled)[:-1]
    ahead = intrinsic(state.aux["ivf"], obs, target_q, shared, scaled)[1:]
    goes_on = 1.0 - np.asarray(batch.terminated, float)[..., None]
    reward = own(probabilities(state.params, obs[:-1]))
    error = value - (reward + GAMMA * goes_on * ahead)
    np.testing.assert_allclose(losses["ivf"], (error**2).mean(-1), rtol=1e-4)
    assert set(method.phases[1].lr) == {"ivf"}


def test_target_of_the_intrinsic_value_function_is_a_slow_copy(batch):
    learner = learner_of("eoi", SPEC)
    state = jax.jit(learner.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.aux["ivf"], state.params["ivf"])
    new, _ = jax.jit(learner.update)(state, batch, 0, jax.random.key(1))
    jax.tree.map(
        lambda old, online, got: np.testing.assert_allclose(
            got, 0.995 * old + 0.005 * online, rtol=1e-4, atol=1e-7
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
    obs = np.asarray(batch.obs[:-1], np.float64)
    q = np.asarray(q_of(method, state.params, batch)[:-1], np.float64)
    slope = np.zeros_like(q)
    for a in range(A):
        up, down = q.copy(), q.copy()
        up[..., a] += 1e-6
        down[..., a] -= 1e-6
        values = [intrinsic(ivf, obs, x, algo == "eoi", scaled) for x in (up, down)]
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
    parts = eoi.Parts(
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
        x = jax.tree.map(lambda v: v[:-1], batch.inputs)
        return -eoi.intrinsic_values(parts, state.params["ivf"], x, q)[..., i].sum()

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
    [("eoi", {"loss_scales": {"individuality": 0.0}}), ("eoi_explore", {})],
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
    changed = 0
    for seed in range(6):
        ctx = Context(state, batch, jax.random.key(seed))
        new, weight = method.experience(ctx)
        p = own(probabilities(state.params, new.obs))
        traded = np.asarray((weight != 1).any((0, 2)))
        assert traded.sum() == 2
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
    assert changed > 3


def test_borrowing_is_off_by_default_and_runs_when_on(batch):
    default = method_of("eoi")
    assert default.experience(Context(None, batch, None)) == (batch, None)
    learner = learner_of("eoi_grid", SPEC, {"role": {"borrow": 0.5}})
    state = jax.jit(learner.init)(jax.random.key(0))
    _, metrics = jax.jit(learner.update)(state, batch, 0, jax.random.key(1))
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(("key", "value"), [("borrow", 1.5), ("window", 0)])
def test_impossible_numbers(key, value):
    with pytest.raises(ConfigError, match=rf"algo\.role\.{key}: got {value}"):
        method_of("eoi", **{key: value})


def test_nested_keys_are_named():
    role = load_algo("eoi")["role"]
    role["agent"] = role["agent"] | {"hiden": 3}
    with pytest.raises(ConfigError, match=r"algo\.role\.agent\.hiden.*'hidden'"):
        build(eoi.Config, role, "algo.role")


# The exploring form


def test_exploring_losses(batch):
    method = method_of("eoi_explore")
    state = state_of(method)
    ctx = Context(state, batch, jax.random.key(0))
    losses, _ = phase_loss(method, "classifier", ctx)
    p = probabilities(state.params, batch.obs[1:])
    np.testing.assert_allclose(losses["identity"], -np.log(own(p)).mean(-1), rtol=1e-4)
    np.testing.assert_allclose(
        losses["mutual_information"], -(p * np.log(p)).sum(-1).mean(-1), rtol=1e-4
    )
    ids = np.broadcast_to(np.eye(N), (*batch.obs.shape[:-1], N))
    seen = np.concatenate([batch.obs, ids], -1)
    online, target = (mlp(p, seen) for p in (state.params["ivf"], state.aux["ivf"]))
    best = np.where(batch.avail, target, -9999999.0).max(-1)[1:]
    goes_on = 1.0 - np.asarray(batch.terminated, float)[..., None]
    reward = 10.0 * own(probabilities(state.params, batch.obs[:-1]))
    taken = np.take_along_axis(online[:-1], np.asarray(batch.action)[..., None], -1)
    error = taken[..., 0] - (reward + 0.92 * goes_on * best)
    losses, _ = phase_loss(method, "ivf", ctx)
    real = np.asarray(batch.mask) > 0
    np.testing.assert_allclose(
        losses["ivf"][real], (error**2).mean(-1)[real], rtol=1e-4
    )


@pytest.mark.parametrize("algo", ["eoi_explore"])
def test_exploration(algo):
    """Rates of individual episodes and steps; one agent at most; its liked action."""
    rows = 4000
    method = method_of(algo, explore_ratio=0.3)
    state = state_of(method)
    batch = random_batch(SPEC, T=1, B=rows)
    seen = Observation(batch.obs[0], batch.state[0], batch.avail[0])
    carry = method.carry(rows)
    chosen = jnp.full((rows, N), A, jnp.int32)  # no action: every change is seen
    step = jax.jit(
        lambda reset, carry, key: method.explore(
            Moment(state, seen, reset, key), chosen, carry
        )
    )
    actions, carry = step(jnp.ones(rows, bool), carry, jax.random.key(0))
    individual = np.asarray(carry["individual"])
    np.testing.assert_allclose(individual.mean(), 0.4, atol=0.03)
    led = np.asarray(actions) != A
    assert (led.sum(1) <= 1).all() and not led[~individual].any()
    np.testing.assert_allclose(led[individual].any(1).mean(), 0.3, atol=0.04)
    np.testing.assert_allclose(led.mean(0), 0.4 * 0.3 / N, atol=0.015)
    ids = np.broadcast_to(np.eye(N), (rows, N, N))
    q = mlp(state.params["ivf"], np.concatenate([seen.obs, ids], -1))
    liked = np.where(seen.avail, q, -np.inf).argmax(-1)
    np.testing.assert_array_equal(np.asarray(actions)[led], liked[led])

    # The kind of an episode lasts until the next begins, and other steps are drawn.
    half = jnp.arange(rows) < rows // 2
    later, carry = step(half, carry, jax.random.key(1))
    kept = np.asarray(carry["individual"])[rows // 2 :]
    np.testing.assert_array_equal(kept, individual[rows // 2 :])
    assert (np.asarray(carry["individual"]) != individual)[: rows // 2].any()
    assert ((np.asarray(later) != A) != led)[rows // 2 :].any()


def test_exploring_carry_survives_acting_and_greedy_ignores_it():
    learner = learner_of("eoi_explore", SPEC, {"role": {"episode_ratio": 1.0}})
    state, rows = jax.jit(learner.init)(jax.random.key(0)), 3
    batch = random_batch(SPEC, T=1, B=rows)
    seen = Observation(batch.obs[0], batch.state[0], batch.avail[0])
    last, reset = batch.last_action[0], batch.reset[0]
    start = learner.carry(rows)
    _, carry = jax.jit(learner.act)(
        state, start, seen, last, reset, jnp.zeros(()), jax.random.key(1)
    )
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, start)
    assert carry["individual"].all()
    _, carry, _ = jax.jit(learner.greedy)(state, start, seen, last, reset)
    assert not carry["individual"].any()


def test_default_method_does_not_change_actions():
    method = method_of("qmix")
    actions, carry = jnp.arange(3), {"x": jnp.ones(1)}
    assert method.explore(None, actions, carry) == (actions, carry)
