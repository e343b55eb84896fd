"""World models and what they foresee, against one-agent, one-step NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import load_algo, random_batch

from rolemarl_jax.config import build
from rolemarl_jax.nets.agents import Recurrent, crossed
from rolemarl_jax.nets.rssm import RSSM, RSSMConfig
from rolemarl_jax.ops.intrinsic import policy_divergence
from rolemarl_jax.roles.parts import world_models
from rolemarl_jax.roles.parts.foresight import foresee
from rolemarl_jax.types import EnvSpec

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
    shapes = jax.eval_shape(lambda: world_models.init_model(net, jax.random.key(0)))
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
    found = jax.jit(lambda b: foresee(net, params, b, role, horizon, None))(batch)
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
            jax.jit(lambda b, r: foresee(net, params, b, r, 4, key))(*args)
            for args in ((batch, role), (new, roles))
        )
        for x, y in zip(before, after, strict=True):
            np.testing.assert_array_equal(x[same], y[same])
            assert not np.array_equal(x, y)


def test_every_real_observation_counts_once():
    batch, stretches = several_episodes()
    weight = jax.grad(
        lambda x: (batch.mask * world_models.per_transition(x, batch)).sum()
    )(jnp.zeros(batch.reset.shape))
    expected = np.zeros(batch.reset.shape)
    for start, steps in stretches:
        expected[start : start + steps + 1] = 1
    np.testing.assert_array_equal(weight, expected)


@pytest.mark.slow
def test_padding_does_not_move_the_world_model(model):
    net, params, _ = model
    values = load_algo("r3dm")["role"]["world"]
    cfg = build(world_models.WorldConfig, values, "algo.role.world")
    batch = random_batch(SPEC, T=6, B=2, lengths=[3, 6])
    noise = jnp.where(jnp.arange(7)[:, None, None, None] > 3, 5.0, 0.0)
    other = batch._replace(obs=batch.obs + noise * jnp.array([1, 0])[:, None, None])
    role = random_roles(batch)

    def loss(params, batch):
        key = jax.random.key(0)
        losses = world_models.model_losses(cfg, net, params, batch, role, key)
        total = sum(x.mean(-1) for x in losses)
        return (batch.mask * world_models.per_transition(total, batch)).sum()

    for ours, moved in zip(
        *(jax.tree.leaves(jax.grad(loss)(params, b)) for b in (batch, other)),
        strict=True,
    ):
        close(ours, moved, 1e-6)


def test_horizon_one_reads_a_fixed_role_like_any_other(model):
    """With k = 1 the role of t and that of each imagined step are one."""
    net, params, _ = model
    batch, _ = several_episodes()
    role, key = random_roles(batch), jax.random.key(0)
    last = role.at[-1].add(1.0)
    found = [foresee(net, params, batch, r, 1, key).error for r in (role, last)]
    np.testing.assert_array_equal(*found)


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
    with pytest.raises(AssertionError, match="bfloat16"):  # which would differ from own
        policy_divergence(jnp.float32(own), same.astype(jnp.bfloat16), 1.0)


@pytest.mark.parametrize("normed", [False, True])
def test_crossed_is_one_unroll_for_each_pair(normed):
    """Agent i's inputs and state, with the role of agent j."""
    g = np.random.default_rng(0)
    batch, _ = several_episodes()
    x = jnp.asarray(g.normal(size=(11, 2, 3, 6)), jnp.float32)
    z = random_roles(batch)
    net = Recurrent(8, 5, normed=normed)
    h0 = jnp.asarray(g.normal(size=(2, 3, 8)), jnp.float32)
    reset = batch.reset.at[0, 0].set(False)
    full = jnp.concatenate([x, z], -1)
    params = net.init(jax.random.key(0), full, h0, reset)
    found = crossed(net, params, x, z, h0, reset)
    for i, j in np.ndindex(3, 3):
        pair = jnp.concatenate([x[:, :, i : i + 1], z[:, :, j : j + 1]], -1)
        expected, _ = net.apply(params, pair, h0[:, i : i + 1], reset)
        close(found[:, :, i, j], expected[:, :, 0])
