"""ROMA's losses and gradient norm against one update of the authors' PyTorch code.

Their role samples are means, their BatchNorm takes batch statistics, and their role
losses are plain means over all 13 steps of all rows, padded ones included.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import Authors, load_algo, torch_gru, torch_linear

from rolemarl_jax.config import build
from rolemarl_jax.learners import qmix
from rolemarl_jax.learners.parts.td_step import Values, td_losses
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.ops import info, td
from rolemarl_jax.roles import make_method, roma
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.types import Batch, EnvSpec, LearnerState

SPEC = EnvSpec("synthetic", 5, 11, 80, 120, 12)
ALGO = load_algo(
    "roma",
    {
        "role": {"norm": "batch_train"},
        "mixer": {"hypernet_layers": 1},
        "reward_scale": 1.0,
        "td_lambda": 0.0,
    },
)


@pytest.fixture(scope="module")
def authors(shared_dir):
    return Authors(shared_dir, "roma")


def batch_of(data):
    """Time-major batch from the authors' arrays, which are batch-major."""

    def major(x, kind=None):
        return jnp.asarray(np.swapaxes(x, 0, 1), kind)

    taken = data["batch/actions_onehot"][:, :-1]
    one_hot = np.concatenate([np.zeros_like(taken[:, :1]), taken], axis=1)
    last = np.where(one_hot.any(-1), one_hot.argmax(-1), -1)
    mask = major(data["in/active"][..., 0])
    T, B = mask.shape
    return Batch(
        obs=major(data["in/obs_n"]),
        state=major(data["in/s"]),
        avail=major(data["batch/avail_actions"] > 0),
        last_action=major(last, jnp.int32),
        reset=jnp.zeros((T + 1, B), bool).at[0].set(True),
        action=major(data["in/a_n"], jnp.int32),
        reward=major(data["in/r"][..., 0]),
        terminated=major(data["in/dw"][..., 0] > 0),
        truncated=jnp.zeros((T, B), bool),
        mask=mask,
    )


def head(p, name):
    scale = {"scale": p[f"{name}.1.weight"], "bias": p[f"{name}.1.bias"]}
    return {
        "Linear_0": torch_linear(p, f"{name}.0"),
        "Standardise_0": jax.tree.map(jnp.asarray, scale),
        "Linear_1": torch_linear(p, f"{name}.3"),
    }


def input_order(ahead):
    """Where our inputs are in theirs: the last action is before the observation."""
    action, obs = np.arange(SPEC.n_actions), np.arange(SPEC.obs_dim) + SPEC.n_actions
    agent = np.arange(SPEC.n_agents) + SPEC.n_actions + SPEC.obs_dim
    return np.concatenate(
        [np.arange(ahead), *(ahead + x for x in (obs, action, agent))]
    )


def params_of(data):
    p = data.parameters()
    for name, ahead in (("fc1", 0), ("embed_net.0", 0), ("inference_net.0", 64)):
        weight = f"agent/{name}.weight"
        p[weight] = p[weight][:, input_order(ahead)]
    # The decoder's hidden layer ends before the third linear layer of a head.
    p["agent/latent_net.3.weight"] = p["agent/fc2_b_nn.weight"]
    p["agent/latent_net.3.bias"] = p["agent/fc2_b_nn.bias"]
    decoder = head(p, "agent/latent_net") | torch_linear(p, "agent/fc2_w_nn")
    mixer = {
        "w1": {"Linear_0": torch_linear(p, "mix/hyper_w_1")},
        "w2": {"Linear_0": torch_linear(p, "mix/hyper_w_final")},
        "b1": torch_linear(p, "mix/hyper_b_1"),
        "v": {
            "Linear_0": torch_linear(p, "mix/V.0"),
            "Linear_1": torch_linear(p, "mix/V.2"),
        },
    }
    trunk = {
        "Linear_0": torch_linear(p, "agent/fc1"),
        "GRU_0": torch_gru(p, "agent/rnn"),
    }
    groups = {
        "agent": trunk,
        "role": head(p, "agent/embed_net"),
        "decoder": decoder,
        "trajectory": head(p, "agent/inference_net"),
        "dissimilarity": head(p, "agent/dis_net"),
        "mixer": mixer,
    }
    return {group: {"params": parts} for group, parts in groups.items()}


def losses(params, batch):
    """TD, identifiability and specialisation, reduced as the authors do."""
    method, mixer = make_method(ALGO["role"], SPEC), make_mixer(ALGO["mixer"], SPEC)
    mean = dataclasses.replace(
        method,
        encode=lambda p, x, carry, _: method.encode(p, x, carry, None),
        target_feats=lambda p, x, *_: method.encode(p, x, {}, None)[0],
    )
    frozen = jax.lax.stop_gradient(params)
    target = {g: frozen[g] for g in (*method.target_groups, *mixer.target_groups)}
    names = ("gamma", "reward_scale", "td_lambda")
    hypers = {name: jnp.asarray(ALGO[name]) for name in names}
    state = LearnerState(frozen, target, {}, {}, hypers)
    ctx = Context(state, batch, jax.random.key(0))
    cfg = build(qmix.Config, ALGO, "algo")
    by_name = td_losses(Values(mean, mixer, cfg.double_q), params, ctx).losses

    zeros = method.carry(batch.reward.shape[1])
    feats, _ = method.encode(params, batch.inputs, zeros, None)
    out, _ = method.q_values(params, batch.inputs, feats, zeros)
    role = build(roma.Config, ALGO["role"], "algo.role")
    setup = roma.make_setup(role, SPEC)
    vague, apart = roma.regularisers(setup, params, batch.inputs, out.feats)
    return {
        "td": td.masked_mean(by_name["td"], batch.mask),
        "identifiability": info.soften(vague.mean(1), role.bound).mean(),
        "specialisation": 1e-3 * apart.mean(),
    }


def test_shapes(authors):
    method = make_method(ALGO["role"], SPEC)
    fresh = jax.eval_shape(method.init, jax.random.key(0))
    ours = params_of(authors)
    ours.pop("mixer")
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(lambda x: x.shape, fresh)


def test_loss_and_gradient_norm(authors):
    batch, params = batch_of(authors), params_of(authors)

    def total(params):
        parts = losses(params, batch)
        return sum(parts.values()), parts

    (loss, parts), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    np.testing.assert_allclose(loss, authors["out/step0/losses"][0], rtol=1e-6)
    np.testing.assert_allclose(
        optax.tree.norm(grads), authors["out/step0/grad_norms"][0], rtol=1e-6
    )
    # Every part is larger than what these tolerances let pass.
    assert all(abs(part) > 4e-6 * loss for part in parts.values())
