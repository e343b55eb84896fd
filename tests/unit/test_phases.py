"""Phases: whose parameters move, how fast, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, learner_of, random_batch, small_algo

from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts import phases
from rolemarl_jax.ops.optim import optimiser
from rolemarl_jax.roles.parts.phase import LossOut, Phase
from rolemarl_jax.types import LearnerState


def toy(every=1, decays=False, after=lambda state: state):
    """One phase that pulls groups a and b towards zero and reads c."""

    def loss(params, ctx):
        total = sum((params[g] ** 2).sum() for g in "abc")
        ones = jnp.ones_like(ctx.batch.mask)
        losses = {"pull": total * ones, "idle": 5 * ones}
        return LossOut(losses, {"seen": params["c"][0]})

    return Phase(
        name="toy",
        stage="train",
        lr={"a": "slow", "b": "quick"},
        optimiser=optimiser("rmsprop", 1e6, {}),
        loss=loss,
        scales={"pull": 0.5, "idle": 0.0},
        every=every,
        decays=decays,
        after=after,
    )


def start(phase):
    params = {g: jnp.array([2.0, -1.0]) for g in "abc"}
    return LearnerState(
        params=params,
        target={},
        opt={"toy": phase.optimiser.init({g: params[g] for g in "ab"})},
        aux={},
        hypers={"slow": jnp.asarray(0.1e6), "quick": jnp.asarray(0.5e6)},
    )


BATCH = random_batch(SPEC, lengths=[6, 3, 4])
KEY = jax.random.key(0)


@pytest.mark.parametrize("decays", [False, True])
def test_rates_by_group(decays):
    """The gradient of the scaled loss is x, and the optimiser divides it by 1e6."""
    phase = toy(decays=decays)
    state, metrics, finite = phases.run_phase(
        phase, start(phase), BATCH, jnp.asarray(0.5), KEY
    )
    factor = 0.5 if decays else 1.0
    x = np.array([2.0, -1.0])
    np.testing.assert_allclose(state.params["a"], x * (1 - 0.1 * factor), rtol=1e-4)
    np.testing.assert_allclose(state.params["b"], x * (1 - 0.5 * factor), rtol=1e-4)
    np.testing.assert_array_equal(state.params["c"], x)
    assert metrics["toy/loss_pull"] == 15 and metrics["toy/loss_idle"] == 5
    assert metrics["toy/seen"] == 2 and finite
    np.testing.assert_allclose(metrics["toy/grad_norm"], np.sqrt(10), rtol=1e-4)


def test_after_is_applied():
    def after(state):
        return state._replace(aux={"n": state.params["a"][0]})

    phase = toy(after=after)
    state = phases.run_phase(phase, start(phase), BATCH, jnp.ones(()), KEY).state
    assert state.aux["n"] == state.params["a"][0]


@pytest.mark.parametrize("every", [1, 3])
def test_runs_only_when_due(every):
    phase = toy(every=every)
    state = start(phase)

    @jax.jit
    def run(t):
        return phases.run_when_due(phase, state, BATCH, t, jnp.ones(()), KEY)

    for t in range(2 * every):
        new, metrics, finite = run(t)
        due = (t + 1) % every == 0
        assert (new.params["a"] != state.params["a"]).any() == due
        assert np.isnan(metrics["toy/loss_pull"]) == (not due) and finite


def test_losses_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must be \[T, B\] = \(6, 3\)"):
        phases.reduce_losses({"td": jnp.ones((6,))}, BATCH.mask)


def test_padding_is_left_out_of_the_mean():
    loss = jnp.where(BATCH.mask > 0, 2.0, 1e9)
    assert phases.reduce_losses({"td": loss}, BATCH.mask)["td"] == 2


@pytest.fixture(scope="module")
def acorm():
    algo = small_algo("acorm", {"role": {"contrastive_every": 2}})
    learner = make_learner(algo, SPEC)
    update = learner.update
    return learner, update, jax.jit(learner.init)(KEY)


def moved(old, new):
    """Names of the parts of which any number changed."""
    same = jax.tree.map(lambda a, b: bool((a == b).all()), old, new)
    return {name for name in old if not jax.tree.all(same[name])}


def test_acorm_groups(acorm):
    """TD trains all but key, similarity and decoder; the due phase the similarity."""
    _, update, state = acorm
    plain = update(state, BATCH, 0, KEY).state
    value = {"agent", "embedding", "role", "mixer", "state_encoder"}
    assert moved(state.params, plain.params) == value | {"key"}
    due, metrics, _ = update(state, BATCH, 1, KEY)
    assert moved(state.params, due.params) == value | {"key", "similarity"}
    assert np.isfinite(metrics["contrastive/loss_contrastive"])
    assert moved(state.target, plain.target) == {"agent", "mixer", "state_encoder"}


def test_acorm_pretraining(acorm):
    learner, _, state = acorm
    embedding, contrastive = learner.pretraining
    new = embedding.update(state, BATCH, 0, KEY).state
    assert moved(state.params, new.params) == {"embedding", "decoder"}
    new = contrastive.update(state, BATCH, 0, KEY).state
    assert moved(state.params, new.params) == {"role", "similarity", "key"}
    # Both stages of the contrastive phase share one optimiser state.
    assert moved(state.opt, new.opt) == {"contrastive"}


def test_momentum_follows_the_role_encoder(acorm):
    _, update, state = acorm
    new = update(state, BATCH, 0, KEY).state
    expected = jax.tree.map(
        lambda k, q: 0.995 * k + 0.005 * q, state.params["key"], new.params["role"]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        new.params["key"],
        expected,
    )


def test_targets_soft_and_hard():
    for mode in ("soft", "hard"):
        target = {"mode": mode, "tau": 0.25, "every": 2}
        learner = learner_of("vdn", SPEC, {"target": target, "role": {"hidden": 8}})
        state = jax.jit(learner.init)(KEY)
        for t in range(2):
            new = learner.update(state, BATCH, t, KEY).state
            share = 0.25 if mode == "soft" else float(t == 1)
            jax.tree.map(
                lambda old, online, got, share=share: np.testing.assert_allclose(
                    got, (1 - share) * old + share * online, rtol=1e-5, atol=1e-7
                ),
                state.target["agent"],
                new.params["agent"],
                new.target["agent"],
            )


def test_learning_rate_decays_with_t():
    decay = {"decay": 0.5, "decay_every": 10}
    learner = learner_of("vdn", SPEC, {"optimiser": decay, "role": {"hidden": 8}})
    state = jax.jit(learner.init)(KEY)
    update = learner.update

    def step(t):
        new = update(state, BATCH, t, KEY).state.params
        return jax.tree.map(lambda a, b: a - b, new, state.params)

    first, later = step(9), step(20)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(b, a / 4, rtol=1e-2, atol=1e-7),
        first,
        later,
    )
