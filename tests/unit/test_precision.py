"""``algo.precision=bfloat16``: products in it, everything that is kept in float32."""

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, random_batch, small_algo

from experiments.bench.update import as_fresh
from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts import precision
from rolemarl_jax.ops import td
from rolemarl_jax.roles import r3dm
from rolemarl_jax.roles.parts.phase import Context, LossOut, Phase

KEY = jax.random.key(0)
# One of each learner and method.
SOME = (
    *("qmix", "mappo"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("acorm", "roma", "r3dm", "eoi", "eoi_explore", "pqn_qmix"),
            *("acorm_mappo", "eoi_ippo", "eoi_maac", "maac"),
        )
    ),
)


def update_of(name, form, seed=0):
    learner = make_learner(small_algo(name, {"precision": form}), SPEC)
    state = jax.jit(learner.init)(jax.random.key(seed))
    batch = random_batch(SPEC, B=8, lengths=[6, 3, 5, 1, 6, 6, 2, 4])
    if learner.experience == "fresh":
        batch = as_fresh(batch, learner.carry(8))
    return learner, state, batch


def products(jaxpr):
    """Types of the operands of every matrix product, loops and branches included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield {str(variable.aval.dtype) for variable in equation.invars}
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, jex.ClosedJaxpr):
                    yield from products(inner.jaxpr)
                elif isinstance(inner, jex.Jaxpr):
                    yield from products(inner)


@pytest.mark.parametrize("name", SOME)
def test_what_is_kept_stays_float32(name):
    learner, state, batch = update_of(name, "bfloat16")
    stages = [learner.update, *(stage.update for stage in learner.pretraining)]
    for update in stages:
        after, metrics, _ = jax.eval_shape(update, state, batch, 0, KEY)
        for before, now in zip(
            jax.tree.leaves(state), jax.tree.leaves(after), strict=True
        ):
            assert before.dtype == now.dtype
        assert all(x.dtype == jnp.float32 for x in metrics.values())


@pytest.mark.parametrize("name", ["qmix", "acorm", "mappo", "maac"])
def test_products_are_in_bfloat16(name):
    """None mixes the two, but for the mixer's sum over float32 action values."""
    learner, state, batch = update_of(name, "bfloat16")
    jaxpr = jax.make_jaxpr(learner.update)(state, batch, 0, KEY).jaxpr
    low = [types == {"bfloat16"} for types in products(jaxpr)]
    assert np.mean(low) > 0.7
    learner, state, batch = update_of(name, "float32")
    jaxpr = jax.make_jaxpr(learner.update)(state, batch, 0, KEY).jaxpr
    assert all(types == {"float32"} for types in products(jaxpr))


@pytest.mark.parametrize("name", SOME)
def test_losses_are_close_to_those_of_float32(name):
    found = {}
    for form in ("float32", "bfloat16"):
        learner, state, batch = update_of(name, form)
        # The hundredth update, in which contrastive learning is due, too.
        metrics = learner.update(state, batch, 99, KEY).metrics
        found[form] = {k: float(v) for k, v in metrics.items() if "loss" in k}
    full, low = found["float32"], found["bfloat16"]
    assert np.isfinite(list(full.values())).all()
    for key, value in full.items():
        np.testing.assert_allclose(low[key], value, rtol=0.05, atol=1e-3, err_msg=key)
    assert low != full, "nothing was rounded"


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("r3dm", r3dm, "policy_divergence"),
        ("eoi", td, "standardised_available"),
    ],
)
def test_what_is_compared_is_float32(name, module, function, monkeypatch):
    """A policy beside itself in another role, action values beside their mean."""
    seen, original = [], getattr(module, function)

    def watched(*args):
        seen.extend(x.dtype for x in args if jnp.issubdtype(x.dtype, jnp.floating))
        return original(*args)

    monkeypatch.setattr(module, function, watched)
    learner, state, batch = update_of(name, "bfloat16")
    jax.eval_shape(learner.update, state, batch, 0, KEY)
    assert seen and set(seen) == {jnp.dtype("float32")}


def test_groups_that_a_method_names_are_not_rounded():
    seen = {}

    def loss(params, ctx):
        seen.update(params=params, state=ctx.state)
        return LossOut({})

    _, state, batch = update_of("acorm", "bfloat16")
    phase = Phase("x", "train", {}, None, loss, {})
    precision.of_phase(phase, "bfloat16", ("similarity",)).loss(
        state.params, Context(state, batch, KEY)
    )
    for groups in (seen["params"], seen["state"].params):
        types = {g: {x.dtype for x in jax.tree.leaves(t)} for g, t in groups.items()}
        assert types.pop("similarity") == {jnp.dtype("float32")}
        assert set.union(*types.values()) == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(seen["state"].hypers)} == {
        jnp.dtype("float32")
    }


@pytest.mark.parametrize("name", ["qmix", "mappo", "maac"])
def test_another_precision_is_refused(name):
    with pytest.raises(ConfigError, match=r"algo\.precision.*float16"):
        update_of(name, "float16")
