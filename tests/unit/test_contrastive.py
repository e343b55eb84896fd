"""ACORM's contrastive loss in its default form: against NumPy, and learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, load_algo, random_batch

from rolemarl_jax.learners.parts.phases import run_phase
from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.encoders import RoleEncoder
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.types import EnvSpec, LearnerState

WIDE = EnvSpec("wide", 5, 5, 7, 6, 8)


def made(spec, **role):
    """Method, its contrastive phase, and a state to begin with."""
    method = make_method({**load_algo("acorm")["role"], **role}, spec)
    phase = next(p for p in method.phases if p.name == "contrastive")
    params = jax.jit(method.init)(jax.random.key(0))
    own = {group: params[group] for group in phase.lr}
    opt = {"contrastive": phase.optimiser.init(own)}
    hypers = {"contrastive_lr": jnp.asarray(8e-4)}
    return method, phase, LearnerState(params, {}, opt, {}, hypers)


def test_cosine_form_and_its_chance_against_numpy():
    batch = random_batch(WIDE, T=4, B=3, lengths=[4, 2, 4])
    method, phase, state = made(WIDE, norm_by_active=True, contrastive_temperature=0.3)
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    state = state._replace(params={**state.params, "similarity": jnp.asarray(w)})
    out = jax.jit(phase.loss)(state.params, Context(state, batch, jax.random.key(0)))

    zeros = method.carry(3)
    feats, _ = method.encode(state.params, batch.inputs, zeros, None)
    embedding = feats["embedding"][:-1]
    labels = np.asarray(kmeans(embedding, 3, 10))
    encoder = RoleEncoder(64, True)
    query, key = (
        np.asarray(encoder.apply(state.params[g], embedding), np.float64) - 0.5
        for g in ("role", "key")
    )
    query /= np.linalg.norm(query, axis=-1, keepdims=True)
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    weight = np.exp(np.einsum("tbiz,zy,tbjy->tbij", query, w, key) / 0.3)
    same = labels[..., :, None] == labels[..., None, :]
    loss = -np.log((weight * same).sum(-1) / weight.sum(-1)).mean(-1)
    np.testing.assert_allclose(out.losses["contrastive"], loss, rtol=1e-3, atol=1e-4)
    real = np.asarray(batch.mask) > 0
    chance = -np.log(same.mean(-1)).mean(-1)[real].mean()
    np.testing.assert_allclose(out.metrics["chance"], chance, rtol=1e-5)


@pytest.mark.parametrize("norm_by_active", [True, False])
def test_roles_that_tell_nothing_have_the_loss_of_chance(norm_by_active):
    """Padding counts in both or in neither."""
    batch = random_batch(WIDE, T=6, B=4, lengths=[6, 3, 2, 2])
    _, phase, state = made(WIDE, norm_by_active=norm_by_active)
    alike = jax.tree.map(jnp.zeros_like, state.params["role"])
    state = state._replace(params={**state.params, "role": alike})
    out = jax.jit(phase.loss)(state.params, Context(state, batch, jax.random.key(0)))
    loss = masked_mean(out.losses["contrastive"], batch.mask)
    np.testing.assert_allclose(loss, out.metrics["chance"], rtol=1e-5)


def test_centred_roles_are_what_a_bias_takes_away():
    """They are roles less 0.5, and no function is lost or won."""
    x = random_batch(WIDE, T=4, B=3).inputs
    plain, _, state = made(WIDE, centred=False)
    centred = made(WIDE, centred=True)[0]
    carry, params = plain.carry(3), state.params
    raw, less = (m.encode(params, x, carry, None)[0] for m in (plain, centred))
    np.testing.assert_allclose(less["role"], raw["role"] - 0.5, rtol=1e-6)
    np.testing.assert_array_equal(less["embedding"], raw["embedding"])

    own = params["agent"]["params"]
    first = own["Linear_0"]
    moved = {**first, "bias": first["bias"] + 0.5 * first["kernel"][-64:].sum(0)}
    agent = {"params": {**own, "Linear_0": moved}}
    q = plain.q_values(params, x, raw, carry)[0].q
    same = centred.q_values({**params, "agent": agent}, x, less, carry)[0].q
    np.testing.assert_allclose(same, q, rtol=1e-4, atol=1e-5)


def test_fewer_clusters_than_agents():
    """Three, unless that would put every agent in a cluster of its own."""
    batch = random_batch(SPEC, T=4, B=3)
    context = (batch, jax.random.key(0))
    for spec, ours, given in ((SPEC, {"clusters": None}, {"clusters": 2}),):
        assert spec.n_agents == 3
        losses = []
        for role in (ours, given):
            _, phase, state = made(spec, **role)
            out = jax.jit(phase.loss)(state.params, Context(state, *context))
            losses.append(out.losses["contrastive"])
        np.testing.assert_array_equal(*losses)


def test_the_loss_falls_below_chance():
    """As shipped, on one batch of noise, with momentum keys that get no gradient."""
    batch = random_batch(WIDE, T=6, B=8)
    _, phase, state = made(WIDE)

    @jax.jit
    def step(state, key):
        out = run_phase(phase, state, batch, jnp.ones(()), key)
        return out.state, out.metrics

    losses = []
    for i in range(60):
        state, metrics = step(state, jax.random.key(i))
        losses.append(float(metrics["contrastive/loss_contrastive"]))
    assert losses[-1] < 0.9 * float(metrics["contrastive/chance"])
    assert losses[-1] < 0.8 * losses[0]
