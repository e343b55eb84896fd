"""R3DM as a method: its reward, its phases, what it leaves alone, its ablations."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import learner_of, load_algo, merge, random_batch, small_algo

from rolemarl_jax.config import ConfigError
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.roles.parts.world_models import MODELS
from rolemarl_jax.types import EnvSpec, LearnerState

SPEC = EnvSpec("tiny/3s5z_vs_3s6z", 3, 5, 7, 6, 8)


def close(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)


def small_learner(name="r3dm", **over):
    role = merge(small_algo(name)["role"], over)
    return learner_of(name, SPEC, merge(small_algo(name), {"role": role}))


def acorm_learner():
    return small_learner("acorm", layer_norm=True, contrastive_every=5)


def begun(learner):
    return jax.jit(learner.init)(jax.random.key(0))


def stepped(learner, state, batch):
    return learner.update(state, batch, jnp.int32(0), jax.random.key(1))


def same_trees(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def trained(learner, updates):
    state = begun(learner)
    for stage in learner.pretraining:
        for i in range(stage.updates):
            batch = random_batch(SPEC, seed=i, lengths=[6, 3, 5])
            state = stage.update(state, batch, jnp.int32(i), jax.random.key(i)).state
    for i in range(updates):
        batch = random_batch(SPEC, seed=i, lengths=[6, 3, 5])
        state = learner.update(state, batch, jnp.int32(i), jax.random.key(i)).state
    return state


# With a contrastive step at every fifth update, the short run has one too.
@pytest.mark.slow
@pytest.mark.parametrize("updates", [6, 50])
def test_without_weight_it_is_acorm_bit_for_bit(updates):
    expected = trained(acorm_learner(), updates)
    learner = small_learner(alpha=0.0, contrastive_every=5)
    found = trained(learner, updates)
    same_trees({g: found.params[g] for g in expected.params}, expected.params)
    same_trees(found.target, expected.target)
    fresh = begun(learner)
    for name in MODELS:
        moved = jax.tree.leaves(found.params[name])[0]
        assert not np.array_equal(moved, jax.tree.leaves(fresh.params[name])[0])


@pytest.mark.slow
def test_the_reward_reaches_the_values():
    learner, batch = small_learner(alpha=0.5), random_batch(SPEC)
    state = begun(learner)
    still = state._replace(hypers={**state.hypers, "alpha": jnp.float32(0)})
    a, b = (stepped(learner, s, batch).state.params["agent"] for s in (state, still))
    assert not np.array_equal(*(jax.tree.leaves(x)[0] for x in (a, b)))


def test_without_the_reward_there_are_no_world_models():
    learner = learner_of("r3dm_no_intrinsic", SPEC)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    expected = learner_of("acorm", SPEC, {"role": {"layer_norm": True}})
    assert jax.tree.structure(state) == jax.tree.structure(
        jax.eval_shape(expected.init, jax.random.key(0))
    )


def test_without_contrastive_learning_only_that_is_missing():
    own, full = (learner_of(n, SPEC) for n in ("r3dm_no_contrastive", "r3dm"))
    names = [[stage.name for stage in learner.pretraining] for learner in (own, full)]
    assert names == [["embedding"], ["embedding", "contrastive"]]
    phases = [
        set(jax.eval_shape(learner.init, jax.random.key(0)).opt)
        for learner in (own, full)
    ]
    assert phases[1] - phases[0] == {"contrastive"} and phases[0] <= phases[1]


@pytest.mark.slow
def test_world_models_train_along_with_each_stage():
    learner = small_learner()
    state = begun(learner)
    batch, equal = random_batch(SPEC), []
    for stage in learner.pretraining:
        state, metrics, _ = stage.update(state, batch, 0, jax.random.key(1))
        assert {"world/loss_observation", "world_role/loss_divergence"} <= set(metrics)
        pairs = zip(
            *(
                jax.tree.leaves([tree[n] for n in MODELS])
                for tree in (state.params, state.aux)
            ),
            strict=True,
        )
        equal.append(all(np.array_equal(x, y) for x, y in pairs))
    assert [stage.name for stage in learner.pretraining] == ["embedding", "contrastive"]
    assert equal == [True, False]


@pytest.mark.slow
def test_an_update_moves_copies_once_and_follows_the_mean_square():
    # With the default rate, copies move by less than numbers are compared to.
    learner = small_learner(normalise=0.1, world={"lr": 0.1})
    batch, before = random_batch(SPEC), begun(learner)
    after, metrics, _ = stepped(learner, before, batch)
    for name in MODELS:
        expected = jax.tree.map(
            lambda t, p: t + 0.005 * (p - t), before.aux[name], after.params[name]
        )
        for x, y in zip(
            jax.tree.leaves(after.aux[name]), jax.tree.leaves(expected), strict=True
        ):
            close(x, y, 1e-6)
        moved = jax.tree.map(
            lambda t, x: float(abs(x - t).max()), before.aux[name], after.aux[name]
        )
        assert max(jax.tree.leaves(moved)) > 4e-4
    expected = 0.9 + 0.1 * metrics["td/intrinsic_square"]
    close(after.aux["intrinsic_square"], expected)
    unused = stepped(small_learner(), before, batch).state
    assert unused.aux["intrinsic_square"] == 1


@functools.cache
def played(steps=6, lengths=None):
    """A batch, a learner state whose models are apart, and what the agents compute."""
    batch = random_batch(SPEC, T=steps, lengths=lengths)
    method = make_method(small_algo("r3dm")["role"], SPEC)
    state = begun(small_learner())
    # Some training apart, or both models say nearly the same.
    apart = jax.tree.map(lambda x: 1.5 * x, state.aux["world"])

    @jax.jit
    def unroll(params):
        zeros = method.carry(batch.reward.shape[1])
        feats, _ = method.encode(params, batch.inputs, zeros, None)
        return method.q_values(params, batch.inputs, feats, zeros)[0]

    return (
        batch,
        state._replace(aux={**state.aux, "world": apart}),
        unroll(state.params),
    )


@functools.cache
def reward_of(steps=6, lengths=None, square=1.0, **over):
    batch, state, out = played(steps, lengths)
    aux = {**state.aux, "intrinsic_square": jnp.float32(square)}
    method = make_method(merge(small_algo("r3dm")["role"], over), SPEC)
    hypers = {name: jnp.float32(value) for name, value in method.hypers.items()}
    state = state._replace(hypers={**state.hypers, **hypers}, aux=aux)
    bonus = jax.jit(method.intrinsic)(Context(state, batch, jax.random.key(4)), out)
    return np.asarray(bonus.reward), {k: float(x) for k, x in bonus.metrics.items()}


def test_terms_add_up_and_padding_gets_nothing():
    batch, _, _ = played(lengths=(6, 3, 5))
    reward, metrics = reward_of(lengths=(6, 3, 5), alpha=0.5, beta2=0.3)
    terms = [metrics[f"intrinsic_{n}"] for n in ("policy", "dynamics", "latent")]
    assert all(term != 0 for term in terms)
    close(sum(terms), metrics["intrinsic"])
    close(0.5 * metrics["intrinsic"], metrics["intrinsic_added"])
    close(reward.sum() / np.asarray(batch.mask).sum(), metrics["intrinsic_added"])
    assert (reward[np.asarray(batch.mask) == 0] == 0).all()


@pytest.mark.slow
def test_clip_bounds_the_reward_before_alpha():
    free, _ = reward_of(alpha=0.5)
    bound = float(np.median(np.abs(free))) / 0.5
    clipped, _ = reward_of(alpha=0.5, clip=bound)
    close(clipped, np.clip(free, -0.5 * bound, 0.5 * bound))


def test_normaliser_divides_by_the_root_of_the_mean_square():
    """Of the batches before; it is 1 to begin with."""
    plain, _ = reward_of(alpha=0.5)
    close(reward_of(alpha=0.5, normalise=0.1)[0], plain)
    close(reward_of(square=4.0, alpha=0.5, normalise=0.1)[0], plain / 2)
    close(reward_of(square=4.0, alpha=0.5)[0], plain)


# Ablations of the paper's figures 5 to 7, by key.


@pytest.mark.slow
def test_every_horizon_gives_a_reward_of_its_own():
    found = [reward_of(steps=12, alpha=1.0, horizon=k)[0] for k in (1, 2, 5, 10)]
    assert np.isfinite(found).all()
    for one, other in itertools.combinations(found, 2):
        # At the last step nothing but the next observation is left to look at.
        assert not np.allclose(one[:-1], other[:-1], atol=1e-3)


@pytest.mark.slow
def test_every_number_of_clusters_trains():
    spec = EnvSpec("tiny/8m", 8, 5, 7, 6, 8)
    batch = random_batch(spec)

    def loss(clusters):
        role = {**small_algo("r3dm")["role"], "clusters": clusters}
        method = make_method(role, spec)
        phase = next(p for p in method.phases if p.name == "contrastive")

        @jax.jit
        def run(batch):
            params = method.init(jax.random.key(0))
            state = LearnerState(params, {}, {}, {}, {})
            out = phase.loss(params, Context(state, batch, jax.random.key(1)))
            return out.losses["contrastive"].mean()

        return float(run(batch))

    found = [loss(clusters) for clusters in range(2, 9)]
    # The more clusters, the fewer positives, and the larger the loss.
    assert np.isfinite(found).all() and (np.diff(found) > 0).all()


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
        ({"clusters": 4}, "algo.role.clusters: got 4, allowed: 1 to .*agents, 3 in"),
        ({"clusters": 0}, "algo.role.clusters: got 0"),
        ({"betta1": 1.0}, "did you mean 'beta1'"),
        ({"per_map": {"3m": {"alpha": 1.0}}}, "algo.role.per_map.3m.beta1: missing"),
    ],
)
def test_faults_are_named(over, message):
    with pytest.raises(ConfigError, match=message):
        hypers(**over)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"algo\.mixer\.heads: got 3.*attention=128"):
        learner_of("r3dm", SPEC, {"mixer": {"heads": 3}})


def test_table_without_default_is_refused():
    role = {**load_algo("r3dm")["role"], "per_map": {}}
    with pytest.raises(ConfigError, match="per_map: missing key default"):
        make_method(role, SPEC)
