"""Names of losses, groups, rates and learners are compared when a learner is made."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
import pytest
from support import SPEC, load_algo, small_algo

from rolemarl_jax import learners, roles
from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts.check import batch_shapes, check_losses
from rolemarl_jax.learners.parts.learner import make_init
from rolemarl_jax.learners.parts.td_step import Values
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.phase import LossOut, Phase


@pytest.mark.parametrize(
    ("algo", "scales", "message"),
    [
        ("roma", {"td": 1.0}, "missing: identifiability, specialisation"),
        ("qmix", {"td": 1.0, "individuality": 0.1}, "without a loss: individuality"),
        ("qmix", {}, "got weights of nothing"),
        ("mappo", {"actor": 1.0, "critic": 1.0}, "missing: entropy"),
        ("mappo", {"actor": 1, "critic": 1, "entropy": 1, "kl": 1}, "a loss: kl"),
    ],
)
def test_losses_and_weights_belong_together(algo, scales, message):
    values = {**small_algo(algo), "loss_scales": scales}
    with pytest.raises(ConfigError, match=r"algo\.loss_scales") as error:
        make_learner(values, SPEC)
    assert message in str(error.value)


def params(key):
    del key
    return {"a": jnp.ones(2), "b": jnp.ones(2)}


def phase(loss=None, **changes):
    def pull(params, ctx):
        return LossOut({"pull": (params["a"] ** 2).sum() * ctx.batch.mask})

    values = {
        "name": "toy",
        "stage": "train",
        "lr": {"a": "lr"},
        "optimiser": optax.identity(),
        "loss": loss or pull,
        "scales": {"pull": "weight_pull"},
    }
    return Phase(**{**values, **changes})


def init_of(phase, **changes):
    values = {
        "params": params,
        "target_groups": (),
        "phases": (phase,),
        "hypers": {"lr": 1.0, "weight_pull": 1.0},
        "of_method": {},
        "no_gradient": ("b",),
    }
    return make_init(**{**values, **changes})


@pytest.mark.parametrize(
    ("phase", "changes", "message"),
    [
        (phase(lr={"c": "lr"}), {}, "parameter group 'c'.*known: a, b"),
        (phase(lr={"a": "rl"}), {}, "hyper-parameter 'rl'.*did you mean 'lr'"),
        (phase(scales={"pull": "weight_pul"}), {}, "'weight_pul'.*'weight_pull'"),
        (phase(), {"no_gradient": ()}, "nothing trains the parameter group b"),
        (phase(), {"no_gradient": ("b", "d")}, "group 'd'"),
        (phase(), {"target_groups": ("d",)}, "target group 'd'"),
        (phase(also=(phase(lr={"c": "lr"}),)), {}, "parameter group 'c'"),
        (phase(), {"no_gradient": ("a", "b")}, "group a, which is trained"),
        (phase(), {"of_method": {"lr": 3.0}}, "hypers name lr, which the learner has"),
    ],
)
def test_names_that_nothing_makes(phase, changes, message):
    with pytest.raises(ConfigError, match=message):
        init_of(phase, **changes)


def test_a_group_that_method_and_mixer_make():
    algo = small_algo("qmix")
    method = make_method(algo["role"], SPEC)
    mixer = make_mixer(algo["mixer"], SPEC)
    init = method.init

    def both(key):
        return {**init(key), "mixer": {}}

    nets = Values(replace(method, init=both), mixer, double_q=True)
    with pytest.raises(ConfigError, match="parameter group mixer, as the mixer does"):
        nets.init(SPEC, jax.random.key(0))


def test_a_loss_that_reads_what_nothing_makes():
    def loss(params, ctx):
        return LossOut({"pull": ctx.state.hypers["alhpa"] * ctx.batch.mask})

    wrong = phase(loss)
    with pytest.raises(ConfigError, match=r"'toy' reads 'alhpa'.*weight_pull"):
        check_losses((wrong,), init_of(wrong).shapes, batch_shapes(SPEC))


def test_a_phase_of_the_methods_own_names_itself():
    wrong = phase(scales={"pull": 1.0, "push": 1.0})
    with pytest.raises(ConfigError, match=r"scales of phase 'toy'.*a loss: push"):
        check_losses((wrong,), init_of(wrong).shapes, batch_shapes(SPEC))


def test_names_that_fit_are_taken():
    right = phase()
    begin = init_of(right)
    check_losses((right,), begin.shapes, batch_shapes(SPEC))
    state = begin.init(jax.random.key(0))
    assert state.hypers["weight_pull"] == 1 and set(state.opt) == {"toy"}
    assert jax.eval_shape(lambda: state._replace(opt={})) == begin.shapes
    assert begin.hypers == ("lr", "weight_pull")


def test_plain_modules_are_what_is_known():
    assert learners.known() == ["maac", "mappo", "pqn", "qmix"]
    assert "parts" not in roles.known() and "acorm" in roles.known()
    for name in ("parts", "epochs", "phases"):
        with pytest.raises(
            ConfigError, match=r"algo\.learner.*known: maac, mappo, pqn, qmix"
        ):
            make_learner({**load_algo("qmix"), "learner": name}, SPEC)
