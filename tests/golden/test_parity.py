"""Networks, losses and gradient norms against one update of the authors' PyTorch code.

The episodes are the authors' synthetic ones: 8 of up to 12 steps, 5 agents, 80
features, 120 of the state, 11 actions.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import Authors, learner_of, load_paper, torch_gru, torch_linear

from rolemarl_jax.config import build
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts.td_step import Values
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.ops import td
from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.ops.contrastive import bilinear_info_nce
from rolemarl_jax.ops.optim import optimiser
from rolemarl_jax.roles import acorm, make_method
from rolemarl_jax.roles.parts.encoders import RoleEncoder
from rolemarl_jax.types import Batch, EnvSpec

SPEC = EnvSpec("synthetic", 5, 11, 80, 120, 12)
GAMMA = 0.99

PYMARL = {
    "mixer": {"hypernet_layers": 1},
    "lr": 5e-4,
    "td_lambda": 0.0,
    "reward_scale": 1.0,
    "optimiser": {"name": "rmsprop", "eps": 1e-5, "clip": 10.0, "decay": 1.0},
}


@pytest.fixture(scope="module", params=["qmix", "acorm"])
def authors(request, shared_dir):
    return Authors(shared_dir, request.param)


@pytest.fixture(scope="module")
def qmix(shared_dir):
    return Authors(shared_dir, "qmix")


@pytest.fixture(scope="module")
def ours(shared_dir):
    """ACORM's data, batch, method, mixer and parameters."""
    data = Authors(shared_dir, "acorm")
    algo = load_paper("acorm", {"mixer": {"own_state_encoder": False}})
    method, mixer = make_method(algo["role"], SPEC), make_mixer(algo["mixer"], SPEC)
    last = indices(data["in/last_onehot_a_n"])
    return data, batch_of(data, last), method, mixer, acorm_params(data)


def indices(one_hot):
    """Last actions as numbers, -1 where there is none."""
    return np.where(one_hot.any(-1), one_hot.argmax(-1), -1)


def batch_of(data, last_action, avail=None):
    """Time-major batch from the authors' arrays, which are batch-major."""
    avail = data["in/avail_a_n"] if avail is None else avail
    mask = np.swapaxes(data["in/active"][..., 0], 0, 1)
    ended = np.swapaxes(data["in/dw"][..., 0] > 0, 0, 1)
    T, B = mask.shape
    major = {
        "obs": data["in/obs_n"],
        "state": data["in/s"],
        "avail": avail > 0,
        "last_action": last_action.astype(np.int32),
        "action": data["in/a_n"].astype(np.int32),
        "reward": data["in/r"][..., 0],
    }
    return Batch(
        **{name: jnp.asarray(np.swapaxes(x, 0, 1)) for name, x in major.items()},
        reset=jnp.zeros((T + 1, B), bool).at[0].set(True),
        terminated=jnp.asarray(ended),
        truncated=jnp.zeros((T, B), bool),
        mask=jnp.asarray(mask),
    )


def recurrent(p, first, gru, last):
    parts = {
        "Linear_0": torch_linear(p, first),
        "GRU_0": torch_gru(p, gru),
        "Linear_1": torch_linear(p, last),
    }
    return {"params": parts}


def two_layers(p, name):
    return {
        "Linear_0": torch_linear(p, f"{name}.0"),
        "Linear_1": torch_linear(p, f"{name}.2"),
    }


def qmix_params(data):
    p = data.parameters()
    mixer = {
        "w1": {"Linear_0": torch_linear(p, "mix/hyper_w_1")},
        "w2": {"Linear_0": torch_linear(p, "mix/hyper_w_final")},
        "b1": torch_linear(p, "mix/hyper_b_1"),
        "v": two_layers(p, "mix/V"),
    }
    agent = recurrent(p, "agent/fc1", "agent/rnn", "agent/fc2")
    return {"agent": agent, "mixer": {"params": mixer}}


def acorm_params(data):
    p = data.parameters()
    embedding = "recl/agent_embedding_net"
    attention = {
        short: torch_linear(p, f"mix/attention_net.fc_{name}")
        for short, name in {"q": "q", "k": "k", "v": "v", "o": "final"}.items()
    }
    monotonic = {
        "w1": two_layers(p, "mix/hyper_w1"),
        "w2": two_layers(p, "mix/hyper_w2"),
        "b1": torch_linear(p, "mix/hyper_b1"),
        "v": two_layers(p, "mix/hyper_b2"),
    }
    state = {
        "Linear_0": torch_linear(p, "mix/state_fc"),
        "GRU_0": torch_gru(p, "mix/state_gru"),
    }
    role = "recl/role_embedding{}_net.role_embeding"
    return {
        "agent": recurrent(p, "Q/fc1", "Q/rnn", "Q/fc2"),
        "embedding": recurrent(
            p,
            f"{embedding}.fc1",
            f"{embedding}.agent_embedding_fc",
            f"{embedding}.fc2",
        ),
        "role": {"params": {"Linear_0": torch_linear(p, role.format(""))}},
        "key": {"params": {"Linear_0": torch_linear(p, role.format("_target"))}},
        "similarity": jnp.asarray(p["recl/W"]),
        "mixer": {
            "attention": {"params": attention},
            "monotonic": {"params": monotonic},
        },
        "state_encoder": {"params": state},
    }


def unroll(method, params, batch):
    zeros = method.carry(batch.reward.shape[1])
    feats, _ = method.encode(params, batch.inputs, zeros, None)
    return method.q_values(params, batch.inputs, feats, zeros)[0]


def shapes(tree):
    return jax.tree.map(lambda x: x.shape, tree)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["qmix", "acorm", "r3dm"])
def test_drawn_parameters_end_as_the_authors_do(name, shared_dir):
    """First and last number of every tensor; uniform ones are equal bit for bit."""
    authors = Authors(shared_dir, name)
    drawn = authors.drawn()
    for tensor, (_, shape, law, ends) in authors.places.items():
        found = drawn[tensor].ravel()[[0, -1]]
        assert drawn[tensor].shape == tuple(shape)
        atol = 0 if len(law) == 2 else 2e-7
        np.testing.assert_allclose(found, np.float32(ends), 0, atol, err_msg=tensor)


def test_stored_last_actions_are_those_before(authors):
    last = indices(authors["in/last_onehot_a_n"])
    step = authors["in/active"][:, :-1] > 0
    assert (last[:, 0] == -1).all()
    before = np.where(step, authors["in/a_n"][:, :-1], 0)
    np.testing.assert_array_equal(np.where(step, last[:, 1:-1], 0), before)


def test_qmix_update(qmix):
    """Loss and gradient norm of PyMARL's QMIX, through the learner itself."""
    learner = learner_of("qmix", SPEC, PYMARL)
    params = qmix_params(qmix)
    fresh = jax.jit(learner.init)(jax.random.key(0))
    assert shapes(params) == shapes(fresh.params)
    before = qmix["batch/actions_onehot"][:, :-1]
    one_hot = np.concatenate([np.zeros_like(before[:, :1]), before], axis=1)
    batch = batch_of(qmix, indices(one_hot), qmix["batch/avail_actions"])
    state = fresh._replace(params=params, target=params)
    state, metrics, _ = learner.update(state, batch, 0, jax.random.key(1))
    np.testing.assert_allclose(
        metrics["td/loss_td"], qmix["out/step0/losses"][0], rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics["td/grad_norm"], qmix["out/step0/grad_norms"][0], rtol=1e-5
    )
    # PyTorch's RMSprop on the clipped gradient, which the first step reveals.
    first = jax.tree.leaves(state.params["agent"])[0] - jax.tree.leaves(params)[0]
    assert 0 < np.abs(first).max() <= 5e-4 / np.sqrt(0.01) * (1 + 1e-4)


def test_acorm_shapes(ours):
    _, _, method, mixer, params = ours
    key = jax.random.key(0)
    fresh = jax.eval_shape(partial(Values(method, mixer, True).init, SPEC), key)
    fresh.pop("decoder")
    assert shapes(params) == shapes(fresh)


def test_acorm_embeddings_roles_and_values(ours):
    data, batch, method, _, params = ours
    out = jax.jit(lambda p: unroll(method, p, batch))(params)
    for value, name in [
        (out.feats["embedding"], "out/agent_embed"),
        (out.feats["role"], "out/role_embed"),
        (out.q, "out/q"),
    ]:
        value = jnp.swapaxes(value, 0, 1)[: len(data[name])]
        close(value, data[name])


def contrastive_loss(own, ours):
    """InfoNCE over the authors' clusters, normalised as theirs by padded steps too."""
    data, batch, method, _, params = ours
    params = {**params, **own}
    real = np.asarray(batch.mask) > 0
    labels = np.zeros(batch.action.shape, np.int32)
    labels[real] = data["out/step0/kmeans_labels"]
    embedding, _ = method.encode(
        params, batch.inputs, method.carry(real.shape[1]), None
    )
    embedding = jax.lax.stop_gradient(embedding["embedding"][:-1])
    encoder = RoleEncoder(64, False)
    query, key = (encoder.apply(params[g], embedding) for g in ("role", "key"))
    loss = bilinear_info_nce(query, key, params["similarity"], jnp.asarray(labels))
    return jnp.where(real, loss, 0).sum() / real.size


@pytest.fixture(scope="module")
def contrasted(ours):
    """Loss of the contrastive step, and what it makes of the parameters."""
    params = ours[-1]
    own = {group: params[group] for group in ("role", "key", "similarity")}
    loss, grads = jax.jit(jax.value_and_grad(lambda own: contrastive_loss(own, ours)))(
        own
    )
    adam = optimiser("adam", 1e-8, {})
    steps, _ = adam.update(grads, adam.init(own), own)
    new = jax.tree.map(lambda p, s: p - 8e-4 * s, own, steps)
    return loss, {**params, **new}


def test_acorm_contrastive_loss_from_their_clusters(ours, contrasted):
    np.testing.assert_allclose(contrasted[0], ours[0]["out/step0/losses"][0], rtol=1e-5)


def test_clusters_are_as_tight_as_theirs(ours):
    """Ours is another K-means: one deterministic start instead of random ones."""
    data, batch, method, _, params = ours
    out = jax.jit(lambda p: unroll(method, p, batch))(params)
    points = np.asarray(out.feats["embedding"][:-1])
    points = points[np.asarray(batch.mask) > 0]
    labels = np.asarray(kmeans(jnp.asarray(points), 3, 10))

    def scatter(labels):
        member = np.eye(3)[labels]
        size = np.maximum(member.sum(1), 1)[..., None]
        centre = np.swapaxes(member, 1, 2) @ points / size
        nearest = np.take_along_axis(centre, labels[..., None], axis=1)
        return ((points - nearest) ** 2).sum((1, 2))

    theirs = scatter(data["out/step0/kmeans_labels"])
    assert (scatter(labels) <= 1.5 * theirs).all()
    assert scatter(labels).mean() <= 1.1 * theirs.mean()


def acorm_td_loss(own, ours):
    """The authors' TD loss, composed of the public pieces.

    Unlike ours by default, the target utility network starts at t = 1 with a zero
    state. As with ours, the target mixer reads the online roles, and here the online
    state encoder too.
    """
    _, batch, method, mixer, params = ours
    params = {**params, **own}
    frozen = jax.lax.stop_gradient(params)
    out = unroll(method, params, batch)
    taken = td.chosen(out.q[:-1], batch.action)
    qs = jnp.concatenate([taken, jnp.zeros_like(taken[:1])])
    total = mixer.mix(
        params, qs, mixer.encode(params, batch.state, batch.reset), out.feats
    )[:-1]

    roles = jax.lax.stop_gradient(out.feats)
    later = jax.tree.map(lambda x: x[1:], batch.inputs)
    zeros = method.carry(batch.reward.shape[1])
    target, _ = method.q_values(
        frozen, later, {name: x[1:] for name, x in roles.items()}, zeros
    )
    best = jnp.argmax(td.mask_unavailable(out.q, batch.avail), -1)[1:]
    ahead = td.chosen(target.q, best)
    qs = jnp.concatenate([jnp.zeros_like(ahead[:1]), ahead])
    ahead = mixer.mix(
        frozen, qs, mixer.encode(frozen, batch.state, batch.reset), roles
    )[1:]
    goal = td.lambda_targets(
        batch.reward, batch.terminated, batch.mask, ahead, GAMMA, 0.0
    )
    return td.masked_mean((total - jax.lax.stop_gradient(goal)) ** 2, batch.mask)


def test_acorm_td_loss_and_gradient_norms(ours, contrasted):
    """The TD step comes after the contrastive one, on the same batch."""
    data, batch, method, mixer, _ = ours
    after = data, batch, method, mixer, contrasted[1]
    encoders, values = ("role", "embedding"), ("agent", *mixer.groups)
    own = {group: contrasted[1][group] for group in (*encoders, *values)}
    loss, grads = jax.jit(jax.value_and_grad(lambda own: acorm_td_loss(own, after)))(
        own
    )
    np.testing.assert_allclose(loss, data["out/step0/losses"][1], rtol=1e-5)
    norms = [optax.tree.norm({g: grads[g] for g in s}) for s in (encoders, values)]
    np.testing.assert_allclose(norms, data["out/step0/grad_norms"], rtol=1e-5)


@pytest.mark.slow
def test_acorm_learner_differs_from_it_by_the_target_only(ours):
    """With no bootstrap both conventions are one: the learner's loss is theirs."""
    _, batch, method, mixer, params = ours
    batch = batch._replace(terminated=jnp.ones_like(batch.terminated))
    one_step = {"reward_scale": 1.0, "td_lambda": 0.0}
    over = {**one_step, "mixer": {"own_state_encoder": False}}
    learner = make_learner(load_paper("acorm", over), SPEC)
    fresh = jax.jit(learner.init)(jax.random.key(0))
    params = {**params, "decoder": fresh.params["decoder"]}
    state = fresh._replace(params=params, target={g: params[g] for g in fresh.target})
    metrics = learner.update(state, batch, 0, jax.random.key(1)).metrics
    expected = jax.jit(lambda p: acorm_td_loss(p, (None, batch, method, mixer, {})))
    expected = expected(params)
    np.testing.assert_allclose(metrics["td/loss_td"], expected, rtol=1e-5)


def test_config_is_the_authors(ours):
    """Sizes with ``run=paper`` are those that the numbers were made with."""
    role = build(acorm.Config, load_paper("acorm")["role"], "algo.role")
    assert (role.hidden, role.embedding, role.role, role.clusters) == (64, 128, 64, 3)
