"""World models, intrinsic reward and TD loss against the authors' PyTorch code.

The episodes are those of ACORM's file.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import Authors, load_algo, torch_gru, torch_linear

from rolemarl_jax.config import build
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.nets.rssm import RSSM, RSSMConfig
from rolemarl_jax.ops import latent, td
from rolemarl_jax.ops.optim import soft_update
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.roles.parts.world_models import WorldConfig, model_losses
from rolemarl_jax.types import Batch, EnvSpec, LearnerState

SPEC = EnvSpec("synthetic/3s5z_vs_3s6z", 5, 11, 80, 120, 12)
NET = RSSMConfig(hidden=128, deter=128, latents=16, classes=16, unimix=0.01)
NETS = {"world_role": RSSM(NET, 80, 11, 64), "world": RSSM(NET, 80, 11, 0)}
WORLD = build(WorldConfig, load_algo("r3dm")["role"]["world"], "algo.role.world")
THEIRS = {"world_role": "wm_role", "world": "wm"}


@pytest.fixture(scope="module")
def data(shared_dir):
    return Authors(shared_dir, "r3dm")


@pytest.fixture(scope="module")
def theirs(data):
    """The authors' parameters by name."""
    return data.parameters()


@pytest.fixture(scope="module")
def batch(shared_dir):
    """Time-major batch from the authors' arrays, which are batch-major."""
    data = Authors(shared_dir, "acorm")

    def major(name):
        return jnp.asarray(np.swapaxes(data[f"in/{name}"], 0, 1))

    one_hot, mask = major("last_onehot_a_n") > 0, major("active")[..., 0]
    T, B = mask.shape
    return Batch(
        obs=major("obs_n"),
        state=major("s"),
        avail=major("avail_a_n") > 0,
        last_action=jnp.where(one_hot.any(-1), one_hot.argmax(-1), -1),
        reset=jnp.zeros((T + 1, B), bool).at[0].set(True),
        action=major("a_n").astype(jnp.int32),
        reward=major("r")[..., 0],
        terminated=major("dw")[..., 0] > 0,
        truncated=jnp.zeros((T, B), bool),
        mask=mask,
    )


def head(p, names, norms, out=None):
    layers = {f"w{i}": p[f"{name}.weight"].T for i, name in enumerate(names)}
    for i, name in enumerate(norms):
        layers |= {f"norm{i}_scale": p[f"{name}.weight"]}
        layers |= {f"norm{i}_bias": p[f"{name}.bias"]}
    if out is not None:
        layers |= {"kernel": p[f"{out}.weight"].T, "bias": p[f"{out}.bias"]}
    return layers


def model_params(theirs, name):
    """Parameters of one of the authors' world models, under our names."""
    start = f"{name}/"
    p = {k[len(start) :]: x for k, x in theirs.items() if k.startswith(start)}
    encoder, decoder, dyn = (
        "encoder._mlp.layers.Encoder_",
        "heads.decoder._mlp.",
        "dynamics._",
    )
    layer = f"{decoder}layers.Decoder_"
    params = {
        "encoder": head(
            p, *([f"{encoder}{part}{i}" for i in (0, 1)] for part in ("linear", "norm"))
        ),
        "decoder": head(
            p,
            *([f"{layer}{part}{i}" for i in (0, 1)] for part in ("linear", "norm")),
            f"{decoder}mean_layer.vector_obs",
        ),
        "prior_head": head(
            p,
            [f"{dyn}img_out_layers.0"],
            [f"{dyn}img_out_layers.1"],
            f"{dyn}imgs_stat_layer",
        ),
        "w_in": p[f"{dyn}img_in_layers.0.weight"].T,
        "w_cell": p[f"{dyn}cell.layers.GRU_linear.weight"].T,
        "w_post": p[f"{dyn}obs_out_layers.0.weight"].T,
        "post_kernel": p[f"{dyn}obs_stat_layer.weight"].T,
        "post_bias": p[f"{dyn}obs_stat_layer.bias"],
        "start": p["dynamics.W"][0],
    }
    norms = {
        "norm_in": "img_in_layers.1",
        "norm_cell": "cell.layers.GRU_norm",
        "norm_post": "obs_out_layers.1",
    }
    for ours, theirs in norms.items():
        params[f"{ours}_scale"] = p[f"{dyn}{theirs}.weight"]
        params[f"{ours}_bias"] = p[f"{dyn}{theirs}.bias"]
    return {"params": jax.tree.map(jnp.asarray, params)}


def recurrent(p, first, gru, last):
    parts = {
        "Linear_0": torch_linear(p, first),
        "GRU_0": torch_gru(p, gru),
        "Linear_1": torch_linear(p, last),
    }
    return {"params": parts}


def acorm_params(p):
    """Utility network, mixer and role encoder."""
    embedding, role = (
        "recl/agent_embedding_net.",
        "recl/role_embedding_net.role_embeding",
    )
    norm = f"{role}.1"
    two = lambda name: {  # noqa: E731
        "Linear_0": torch_linear(p, f"mix/{name}.0"),
        "Linear_1": torch_linear(p, f"mix/{name}.2"),
    }
    attention = {
        short: torch_linear(p, f"mix/attention_net.fc_{name}")
        for short, name in {"q": "q", "k": "k", "v": "v", "o": "final"}.items()
    }
    state = {
        "Linear_0": torch_linear(p, "mix/state_fc"),
        "GRU_0": torch_gru(p, "mix/state_gru"),
    }
    encoder = {
        "Linear_0": torch_linear(p, f"{role}.0"),
        "LayerNorm_0": {
            "scale": jnp.asarray(p[f"{norm}.weight"]),
            "bias": jnp.asarray(p[f"{norm}.bias"]),
        },
    }
    return {
        "agent": recurrent(p, "Q/fc1", "Q/rnn", "Q/fc2"),
        "embedding": recurrent(
            p,
            f"{embedding}fc1",
            f"{embedding}agent_embedding_fc",
            f"{embedding}fc2",
        ),
        "role": {"params": encoder},
        "mixer": {
            "attention": {"params": attention},
            "monotonic": {
                "params": {
                    "w1": two("hyper_w1"),
                    "w2": two("hyper_w2"),
                    "b1": torch_linear(p, "mix/hyper_b1"),
                    "v": two("hyper_b2"),
                }
            },
        },
        "state_encoder": {"params": state},
    }


def authors_loss(params, name, batch, role):
    """Loss with the authors' mean: padding counts, the terminal observation does not.

    Their mask repeats its last column for the observation after the last step.
    """
    losses = model_losses(WORLD, NETS[name], params, batch, role, None)
    mask = jnp.concatenate([batch.mask, batch.mask[-1:]])[..., None]
    error, divergence = ((x * mask).mean() for x in losses)
    return error + divergence, error


def unroll(method, params, batch):
    zeros = method.carry(batch.reward.shape[1])
    feats, _ = method.encode(params, batch.inputs, zeros, None)
    return method.q_values(params, batch.inputs, feats, zeros)[0]


@pytest.fixture(scope="module")
def ours(theirs, batch):
    """Method, mixer, parameters and what the agents compute."""
    algo = load_algo("r3dm", {"mixer": {"own_state_encoder": False}})
    method, mixer = make_method(algo["role"], SPEC), make_mixer(algo["mixer"], SPEC)
    params = acorm_params(theirs)
    out = jax.jit(lambda p: unroll(method, p, batch))(params)
    return method, mixer, params, out


def state_of(method, params, worlds):
    hypers = {name: jnp.float32(x) for name, x in method.hypers.items()}
    aux = {**worlds, "intrinsic_square": jnp.ones(())}
    return LearnerState(params, {}, {}, aux, hypers)


def test_agnostic_world_model_loss(data, theirs, batch):
    role = jnp.zeros((*batch.obs.shape[:3], 0))
    loss, error = jax.jit(lambda p: authors_loss(p, "world", batch, role))(
        model_params(theirs, "wm")
    )
    np.testing.assert_allclose(loss, data["out/step0/losses"][1], rtol=1e-5)
    expected = data["out/step0/metric/wm/vector_obs_loss"]
    np.testing.assert_allclose(error, expected, rtol=1e-5)


def test_divergence_and_entropies(data, theirs, batch):
    params, net = model_params(theirs, "wm"), NETS["world"]
    drive = jax.nn.one_hot(batch.last_action, 11)
    none = jnp.zeros((*drive.shape[:-1], 0))
    seen = net.apply(
        params, batch.obs, drive, none, batch.reset, None, method=net.observe
    )
    prior = net.apply(params, seen.deter, method=net.prior)
    mask = jnp.concatenate([batch.mask, batch.mask[-1:]])[..., None]

    def entropy(log_probs):
        return -(jnp.exp(log_probs) * log_probs).sum((-1, -2))

    for name, value in {
        "kl": latent.kl(seen.log_probs, prior),
        "prior_ent": entropy(prior),
        "post_ent": entropy(seen.log_probs),
    }.items():
        expected = data[f"out/step0/metric/wm/{name}"]
        np.testing.assert_allclose((value * mask).mean(), expected, rtol=1e-5)


def test_role_world_model_loss(data, theirs, batch, ours):
    out = ours[-1]
    loss, error = jax.jit(
        lambda p: authors_loss(p, "world_role", batch, out.feats["role"])
    )(model_params(theirs, "wm_role"))
    np.testing.assert_allclose(loss, data["out/step0/losses"][0], rtol=1e-5)
    expected = data["out/step0/metric/wm_role/vector_obs_loss"]
    np.testing.assert_allclose(error, expected, rtol=1e-5)


def bonus(method, params, worlds, batch, out):
    """Intrinsic reward at modes, before alpha, on padded steps too."""
    batch = batch._replace(mask=jnp.ones_like(batch.mask))
    state = state_of(method, params, worlds)
    found = method.intrinsic(Context(state, batch, None), out)
    return found.reward / state.hypers["alpha"], found.metrics


def test_intrinsic_reward(data, theirs, batch, ours):
    method, _, params, out = ours
    worlds = {name: model_params(theirs, f"t{THEIRS[name]}") for name in NETS}
    reward, metrics = jax.jit(lambda: bonus(method, params, worlds, batch, out))()
    expected = np.swapaxes(data["out/intrinsic_reward"], 0, 1)
    np.testing.assert_allclose(reward, expected, rtol=1e-5, atol=2e-5)
    for term, name in {
        "policy": "policy",
        "dynamics": "obs",
        "latent": "dreamer",
    }.items():
        np.testing.assert_allclose(
            metrics[f"intrinsic_{term}"],
            data[f"out/rew/{name}_intrinsic_mean"],
            rtol=1e-5,
            atol=1e-7,
        )


def trained(theirs, name, batch, role):
    """A target model after the authors' first step: Adam, then two moves of .005."""
    params = model_params(theirs, THEIRS[name])
    grads = jax.grad(lambda p: authors_loss(p, name, batch, role)[0])(params)
    adam = optax.adam(1e-4, eps=1e-8)
    steps, _ = adam.update(grads, adam.init(params))
    new = optax.apply_updates(params, steps)
    target = model_params(theirs, f"t{THEIRS[name]}")
    moved = soft_update(soft_update(target, new, 0.005), new, 0.005)
    return moved, optax.tree.norm(grads)


def test_td_loss_after_the_world_models_step(data, theirs, batch, ours):
    """Their TD step reads the world models' copies after their first update.

    The target utility network starts at t = 1 with a zero state; the target mixer
    reads the online state encoder and roles.
    """
    method, mixer, params, out = ours
    role = out.feats["role"]
    after = jax.jit(lambda: {n: trained(theirs, n, batch, role) for n in NETS})()
    worlds = {name: pair[0] for name, pair in after.items()}
    norms = [after[name][1] for name in ("world_role", "world")]
    np.testing.assert_allclose(norms, data["out/step0/grad_norms"][:2], rtol=1e-5)

    def loss():
        taken = td.chosen(out.q[:-1], batch.action)
        qs = jnp.concatenate([taken, jnp.zeros_like(taken[:1])])
        total = mixer.mix(
            params, qs, mixer.encode(params, batch.state, batch.reset), out.feats
        )[:-1]
        later = jax.tree.map(lambda x: x[1:], batch.inputs)
        zeros = method.carry(batch.reward.shape[1])
        fixed = {name: x[1:] for name, x in out.feats.items()}
        target, _ = method.q_values(params, later, fixed, zeros)
        best = jnp.argmax(td.mask_unavailable(out.q, batch.avail), -1)[1:]
        ahead = td.chosen(target.q, best)
        qs = jnp.concatenate([jnp.zeros_like(ahead[:1]), ahead])
        ahead = mixer.mix(
            params, qs, mixer.encode(params, batch.state, batch.reset), out.feats
        )[1:]
        added, _ = bonus(method, params, worlds, batch, out)
        reward = batch.reward + method.hypers["alpha"] * added
        goal = td.lambda_targets(reward, batch.terminated, batch.mask, ahead, 0.99, 0.0)
        return td.masked_mean((total - goal) ** 2, batch.mask), added

    value, added = jax.jit(loss)()
    expected = data["out/step0/metric/rewards/intrinisc_reward_mean"]
    np.testing.assert_allclose(added.mean(), expected, rtol=1e-5)
    np.testing.assert_allclose(value, data["out/step0/losses"][2], rtol=1e-5)
