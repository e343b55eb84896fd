"""R3DM's world models and intrinsic reward against NumPy, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import learner_of, load_algo, merge, random_batch, small_algo

from rolemarl_jax.config import ConfigError
from rolemarl_jax.nets.agents import Recurrent, crossed
from rolemarl_jax.nets.rssm import RSSM, RSSMConfig
from rolemarl_jax.ops import latent, latent_scan
from rolemarl_jax.ops.intrinsic import policy_divergence
from rolemarl_jax.roles import make_method, r3dm
from rolemarl_jax.roles.base import Context
from rolemarl_jax.types import AgentOut, EnvSpec

SPEC = EnvSpec("tiny/3s5z_vs_3s6z", 3, 5, 7, 6, 8)
NET = RSSMConfig(hidden=8, deter=6, latents=2, classes=3, unimix=0.01)
UNIMIX = 0.01


def close(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)


# An independent world model: one agent, one step at a time, samples at their modes.


def np_norm(x, p, name):
    centred = x - x.mean()
    scale = p[f"{name}_scale"] / np.sqrt(x.var() + 1e-3)
    return centred * scale + p[f"{name}_bias"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def np_layer(x, w, p, name):
    y = np_norm(x @ w, p, name)
    return y * sigmoid(y)


def np_head(x, p):
    i = 0
    while f"w{i}" in p:
        x = np_layer(x, p[f"w{i}"], p, f"norm{i}")
        i += 1
    return x @ p["kernel"] + p["bias"] if "kernel" in p else x


def np_probs(logits):
    e = np.exp(logits.reshape(NET.latents, NET.classes))
    return (1 - UNIMIX) * e / e.sum(1, keepdims=True) + UNIMIX / NET.classes


def np_mode(probs):
    return np.eye(NET.classes)[probs.argmax(1)].reshape(-1)


def np_symlog(x):
    return np.sign(x) * np.log(1 + np.abs(x))


def np_step(p, h, s, drive, role):
    x = np_layer(np.concatenate([s, drive, role]), p["w_in"], p, "norm_in")
    joint = np_norm(np.concatenate([x, h]) @ p["w_cell"], p, "norm_cell")
    reset, candidate, update = np.split(joint, 3)
    update = sigmoid(update - 1)
    return update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h


def np_start(p):
    h = np.tanh(p["start"])
    return h, np_mode(np_probs(np_head(h, p["prior_head"])))


def np_observe(p, h, obs):
    read = np.concatenate([h, np_head(np_symlog(obs), p["encoder"])])
    y = np_layer(read, p["w_post"], p, "norm_post")
    return np_probs(y @ p["post_kernel"] + p["post_bias"])


def np_look(p, h, role, obs):
    """Error and log-likelihood of the own latent for one imagined state."""
    probs = np_probs(np_head(h, p["prior_head"]))
    s = np_mode(probs)
    predicted = np_head(np.concatenate([s, h, role]), p["decoder"])
    error = ((predicted - np_symlog(obs)) ** 2).sum()
    return s, error, np.log(probs.max(1)).sum()


def np_episode(p, obs, actions, roles, k):
    """Mean error and latent likelihood of the next k steps, for every step."""
    h, s = np_start(p)
    drive, role = np.zeros(SPEC.n_actions), np.zeros_like(roles[0])
    found = []
    for t in range(len(actions)):
        h = np_step(p, h, s, drive, role)
        s = np_mode(np_observe(p, h, obs[t]))
        g, d, each = h, s, []
        for j in range(min(k, len(actions) - t)):
            g = np_step(p, g, d, np.eye(SPEC.n_actions)[actions[t + j]], roles[t])
            d, *numbers = np_look(p, g, roles[t], obs[t + j + 1])
            each.append(numbers)
        found.append(np.mean(each, axis=0))
        drive, role = np.eye(SPEC.n_actions)[actions[t]], roles[t]
    return np.array(found).T


@pytest.fixture(scope="module")
def model():
    """A world model with roles, all its parameters random."""
    net = RSSM(NET, SPEC.obs_dim, SPEC.n_actions, 4)
    shapes = jax.eval_shape(lambda: r3dm._init(net, jax.random.key(0)))
    g = np.random.default_rng(3)
    params = jax.tree.map(
        lambda x: jnp.asarray(g.normal(size=x.shape) * 0.5, jnp.float32), shapes
    )
    return net, params, jax.tree.map(lambda x: np.asarray(x, float), params["params"])


def several_episodes(seed=0):
    """Rows of 11 slots holding episodes of 4 and 5 steps, then the start of one more.

    Returns:
        The batch, and (first slot, steps) of each whole stretch in a row.
    """
    batch = random_batch(SPEC, T=10, B=2, seed=seed)
    starts, ends = [0, 5], [4, 10]
    slot = np.arange(11)[:, None]
    reset = np.isin(slot, starts) | np.zeros((1, 2), bool)
    terminal = np.isin(slot, ends) | np.zeros((1, 2), bool)
    mask = (~terminal[:-1]).astype(np.float32)
    last = np.where(reset[..., None], -1, np.asarray(batch.last_action))
    return batch._replace(
        reset=jnp.asarray(reset),
        mask=jnp.asarray(mask),
        last_action=jnp.asarray(last),
        terminated=jnp.asarray(terminal[1:]),
        truncated=jnp.zeros((10, 2), bool),
    ), [(0, 4), (5, 5)]


def random_roles(batch, seed=1):
    g = np.random.default_rng(seed)
    return jnp.asarray(g.random((*batch.obs.shape[:3], 4)), jnp.float32)


@pytest.mark.parametrize("horizon", [1, 3, 10])
def test_foresight_is_that_of_numpy(model, horizon):
    net, params, p = model
    batch, stretches = several_episodes()
    role = random_roles(batch)
    found = jax.jit(lambda b: r3dm.foresee(net, params, b, role, horizon, None))(batch)
    for b, n in np.ndindex(2, SPEC.n_agents):
        for start, steps in stretches:
            rows = slice(start, start + steps)
            expected = np_episode(
                p,
                np.asarray(batch.obs, float)[start : start + steps + 1, b, n],
                np.asarray(batch.action)[rows, b, n],
                np.asarray(role, float)[rows, b, n],
                horizon,
            )
            close(found.error[rows, b, n], expected[0], 1e-4)
            close(found.latent[rows, b, n], expected[1], 1e-4)


def test_foresight_stays_in_its_episode(model):
    """Nothing after an episode's end, and nothing before its start, is looked at."""
    net, params, _ = model
    batch, _ = several_episodes()
    role, key = random_roles(batch), jax.random.key(2)
    other = several_episodes(seed=9)[0]
    second = jnp.arange(11)[:, None] >= 5

    def mixed(a, b):
        return jnp.where(second.reshape(second.shape + (1,) * (a.ndim - 2)), a, b)

    for changed, same in [
        (mixed, slice(0, 4)),
        (lambda a, b: mixed(b, a), slice(5, 10)),
    ]:
        new = batch._replace(
            obs=changed(other.obs, batch.obs),
            last_action=changed(other.last_action, batch.last_action),
        )
        roles = changed(random_roles(batch, 5), role)
        before, after = (
            jax.jit(lambda b, r: r3dm.foresee(net, params, b, r, 4, key))(*args)
            for args in ((batch, role), (new, roles))
        )
        for x, y in zip(before, after, strict=True):
            np.testing.assert_array_equal(x[same], y[same])
            assert not np.array_equal(x, y)


def test_every_real_observation_counts_once():
    batch, stretches = several_episodes()
    weight = jax.grad(lambda x: (batch.mask * r3dm.per_transition(x, batch)).sum())(
        jnp.zeros(batch.reset.shape)
    )
    expected = np.zeros(batch.reset.shape)
    for start, steps in stretches:
        expected[start : start + steps + 1] = 1
    np.testing.assert_array_equal(weight, expected)


def test_padding_does_not_move_the_world_model(model):
    net, params, _ = model
    cfg = small_config().world
    batch = random_batch(SPEC, T=6, B=2, lengths=[3, 6])
    noise = jnp.where(jnp.arange(7)[:, None, None, None] > 3, 5.0, 0.0)
    other = batch._replace(obs=batch.obs + noise * jnp.array([1, 0])[:, None, None])
    role = random_roles(batch)

    def loss(params, batch):
        key = jax.random.key(0)
        losses = r3dm.model_losses(cfg, net, params, batch, role, key)
        total = sum(x.mean(-1) for x in losses)
        return (batch.mask * r3dm.per_transition(total, batch)).sum()

    for ours, moved in zip(
        *(jax.tree.leaves(jax.grad(loss)(params, b)) for b in (batch, other)),
        strict=True,
    ):
        close(ours, moved, 1e-6)


# Pieces.


def test_policy_divergence_is_that_of_numpy():
    g = np.random.default_rng(0)
    others = g.normal(size=(2, 3, 3, 5))
    own = np.stack([others[:, i, i] for i in range(3)], 1)
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    p, mean = softmax(0.7 * own), softmax(others).mean(2)
    expected = (p * np.log(p / mean)).sum(-1)
    close(policy_divergence(jnp.asarray(own), jnp.asarray(others), 0.7), expected)
    same = jnp.broadcast_to(jnp.asarray(own)[:, :, None], others.shape)
    close(policy_divergence(jnp.asarray(own), same, 1.0), np.zeros((2, 3)), 1e-6)


def test_crossed_is_one_unroll_for_each_pair():
    g = np.random.default_rng(0)
    batch, _ = several_episodes()
    x = jnp.asarray(g.normal(size=(11, 2, 3, 6)), jnp.float32)
    z = random_roles(batch)
    net = Recurrent(8, 5)
    h0 = jnp.zeros((2, 1, 8))
    full = jnp.concatenate([x, z], -1)[:, :, :1]
    params = net.init(jax.random.key(0), full, h0, batch.reset)
    found = crossed(net, params, x, z, batch.reset)
    for i, j in np.ndindex(3, 3):
        pair = jnp.concatenate([x[:, :, i : i + 1], z[:, :, j : j + 1]], -1)
        expected, _ = net.apply(params, pair, h0, batch.reset)
        close(found[:, :, i, j], expected[:, :, 0])


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
    close(latent.entropy(log_p), -(p * np.log(p)).sum((-1, -2)))
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


# The method as a whole.


def small_config(**over):
    from rolemarl_jax.config import build

    return build(r3dm.Config, merge(small_algo("r3dm")["role"], over), "algo.role")


def small_learner(name="r3dm", **over):
    role = merge(small_algo(name)["role"], over)
    return learner_of(name, SPEC, merge(small_algo(name), {"role": role}))


def acorm_learner():
    return small_learner("acorm", layer_norm=True, contrastive_every=5)


def same_trees(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def trained(learner, updates):
    state = learner.init(jax.random.key(0))
    for stage in learner.pretraining:
        update = jax.jit(stage.update)
        for i in range(stage.updates):
            batch = random_batch(SPEC, seed=i, lengths=[6, 3, 5])
            state, _ = update(state, batch, jnp.int32(i), jax.random.key(i))
    update = jax.jit(learner.update)
    for i in range(updates):
        batch = random_batch(SPEC, seed=i, lengths=[6, 3, 5])
        state, _ = update(state, batch, jnp.int32(i), jax.random.key(i))
    return state


def test_without_weight_it_is_acorm_bit_for_bit():
    expected = trained(acorm_learner(), 50)
    found = trained(small_learner(alpha=0.0, contrastive_every=5), 50)
    same_trees({g: found.params[g] for g in expected.params}, expected.params)
    same_trees(found.target, expected.target)
    fresh = small_learner().init(jax.random.key(0))
    for name in r3dm.MODELS:
        moved = jax.tree.leaves(found.params[name])[0]
        assert not np.array_equal(moved, jax.tree.leaves(fresh.params[name])[0])


def test_the_reward_reaches_the_values():
    a, b = (
        trained(small_learner(alpha=x, pretrain_embedding=1), 2) for x in (0.0, 0.5)
    )
    agents = [jax.tree.leaves(s.params["agent"])[0] for s in (a, b)]
    assert not np.array_equal(*agents)


def test_without_the_reward_there_are_no_world_models():
    learner = learner_of("r3dm_no_intrinsic", SPEC)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    expected = learner_of("acorm", SPEC, {"role": {"layer_norm": True}})
    assert jax.tree.structure(state) == jax.tree.structure(
        jax.eval_shape(expected.init, jax.random.key(0))
    )


def test_world_models_train_along_with_each_stage():
    learner = small_learner()
    state = learner.init(jax.random.key(0))
    batch, moved = random_batch(SPEC), []
    for stage in learner.pretraining:
        state, metrics = jax.jit(stage.update)(state, batch, 0, jax.random.key(1))
        assert {"world/loss_observation", "world_role/loss_divergence"} <= set(metrics)
        moved.append(
            all(
                np.array_equal(x, y)
                for name in r3dm.MODELS
                for x, y in zip(
                    jax.tree.leaves(state.params[name]),
                    jax.tree.leaves(state.aux[name]),
                    strict=True,
                )
            )
        )
    assert [stage.name for stage in learner.pretraining] == ["embedding", "contrastive"]
    assert moved == [True, False]


def test_copies_move_once_an_update():
    learner = small_learner()
    before = learner.init(jax.random.key(0))
    batch = random_batch(SPEC)
    after, _ = jax.jit(learner.update)(before, batch, 0, jax.random.key(1))
    for name in r3dm.MODELS:
        expected = jax.tree.map(
            lambda t, p: t + 0.005 * (p - t), before.aux[name], after.params[name]
        )
        for x, y in zip(
            jax.tree.leaves(after.aux[name]), jax.tree.leaves(expected), strict=True
        ):
            close(x, y, 1e-7)


def reward_of(batch, **over):
    method = make_method(merge(small_algo("r3dm")["role"], over), SPEC)
    learner = small_learner(**over)
    state = learner.init(jax.random.key(0))
    zeros = method.carry(batch.reward.shape[1])
    feats, _ = method.encode(state.params, batch.inputs, zeros, None)
    out, _ = method.q_values(state.params, batch.inputs, feats, zeros)
    # Some training apart, or both models say nearly the same.
    aux = {**state.aux, "world": jax.tree.map(lambda x: 1.5 * x, state.aux["world"])}
    context = Context(state._replace(aux=aux), batch, jax.random.key(4))
    reward, metrics = jax.jit(
        lambda: method.intrinsic(context, AgentOut(out.q, feats))
    )()
    return np.asarray(reward), {k: float(x) for k, x in metrics.items()}


def test_terms_add_up_and_padding_gets_nothing():
    batch = random_batch(SPEC, lengths=[6, 3, 5])
    reward, metrics = reward_of(batch, alpha=0.5, beta2=0.3)
    terms = [metrics[f"intrinsic_{n}"] for n in ("policy", "dynamics", "latent")]
    assert all(term != 0 for term in terms)
    close(sum(terms), metrics["intrinsic"])
    close(0.5 * metrics["intrinsic"], metrics["intrinsic_added"])
    close(reward.sum() / np.asarray(batch.mask).sum(), metrics["intrinsic_added"])
    assert (reward[np.asarray(batch.mask) == 0] == 0).all()


def test_clip_bounds_the_reward_before_alpha():
    batch = random_batch(SPEC)
    free, _ = reward_of(batch, alpha=0.5)
    bound = float(np.median(np.abs(free))) / 0.5
    clipped, _ = reward_of(batch, alpha=0.5, clip=bound)
    close(clipped, np.clip(free, -0.5 * bound, 0.5 * bound))


def test_normaliser_follows_the_mean_square():
    batch = random_batch(SPEC)
    plain, _ = reward_of(batch, alpha=0.5)
    close(reward_of(batch, alpha=0.5, normalise=0.1)[0], plain)
    learner = small_learner(normalise=0.1)
    state = learner.init(jax.random.key(0))
    after, metrics = jax.jit(learner.update)(state, batch, 0, jax.random.key(1))
    expected = 0.9 + 0.1 * metrics["td/intrinsic_square"]
    close(after.aux["intrinsic_square"], expected)
    still = small_learner()
    unused, _ = jax.jit(still.update)(state, batch, 0, jax.random.key(1))
    assert unused.aux["intrinsic_square"] == 1


def test_horizon_one_reads_a_fixed_role_like_any_other(model):
    """With k = 1 the role of t and that of each imagined step are one."""
    net, params, _ = model
    batch, _ = several_episodes()
    role, key = random_roles(batch), jax.random.key(0)
    last = role.at[-1].add(1.0)
    found = [r3dm.foresee(net, params, batch, r, 1, key).error for r in (role, last)]
    np.testing.assert_array_equal(*found)


def hypers(name="tiny/3m", **over):
    role = merge(load_algo("r3dm")["role"], over)
    spec = EnvSpec(name, 3, 5, 7, 6, 8)
    return make_method(role, spec).hypers


def test_weights_come_from_the_map_the_default_or_the_command_line(caplog):
    corridor = hypers("smac/corridor", beta3=7.0)
    assert (corridor["alpha"], corridor["beta1"], corridor["beta3"]) == (0.1, 1.0, 7.0)
    assert not caplog.records
    other = hypers(alpha=0.3)
    assert (other["alpha"], other["beta1"]) == (0.3, 1.0)
    assert "no entry for 3m" in caplog.text and "beta1=1.0" in caplog.text
    assert "temperature" not in other
    assert hypers(temperature=2.0)["temperature"] == 2.0


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"horizon": 11}, "algo.role.horizon: got 11, allowed: 1 to 10"),
        ({"horizon": 0}, "algo.role.horizon: got 0"),
        ({"clusters": 4}, "algo.role.clusters: got 4"),
        ({"betta1": 1.0}, "did you mean 'beta1'"),
    ],
)
def test_faults_are_named(over, message):
    with pytest.raises(ConfigError, match=message):
        hypers(**over)


def test_table_without_default_is_refused():
    role = {**load_algo("r3dm")["role"], "per_map": {}}
    with pytest.raises(ConfigError, match="per_map: missing key default"):
        make_method(role, SPEC)
