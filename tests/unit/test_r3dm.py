"""R3DM as a method: its reward, its phases, what it leaves alone, its ablations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import learner_of, load_algo, merge, random_batch, small_algo

from rolemarl_jax.config import ConfigError
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.base import Context
from rolemarl_jax.roles.world_models import MODELS
from rolemarl_jax.types import AgentOut, EnvSpec

SPEC = EnvSpec("tiny/3s5z_vs_3s6z", 3, 5, 7, 6, 8)


def close(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)


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
    for name in MODELS:
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
                for name in MODELS
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
    for name in MODELS:
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
