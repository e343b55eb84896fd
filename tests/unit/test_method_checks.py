"""Checks pass every method that is shipped, and find each broken one."""

import dataclasses
import re

import jax.numpy as jnp
import pytest
from support import ALGOS, SPEC, load_algo, shrink

from experiments import configure
from rolemarl_jax import roles
from rolemarl_jax.checks import memory, records
from rolemarl_jax.checks import method as methods
from rolemarl_jax.checks.findings import Stop
from rolemarl_jax.checks.method import check_method
from rolemarl_jax.learners import make_learner
from rolemarl_jax.roles.parts.method import Intrinsic, PolicyMethod, RoleMethod


def told(found, level="fault"):
    return [one.text for one in found if one.level == level]


def soft():
    return configure(
        "--config-dir=examples/my_method/conf",
        "algo=soft_roles",
        "algo.role.hidden=8",
        "algo.role.roles=4",
    ).algo


@pytest.fixture
def record(repo, monkeypatch):
    """The example's record, and what checks say of it with some functions replaced."""
    monkeypatch.chdir(repo)
    monkeypatch.syspath_prepend(str(repo / "examples" / "my_method"))
    method = roles.make_method(soft()["role"], SPEC)

    def found(**changes):
        changed = dataclasses.replace(method, **changes)
        try:
            return told(records.record_faults(changed, SPEC))
        except Stop as stop:
            return told([stop.finding])

    return method, found


def test_a_method_that_is_right_passes(record):
    assert record[1]() == []


def test_features_of_the_target_network_are_those_of_the_online_one(record):
    """One of another size could pass by broadcasting."""
    _, found = record

    def judge(change):
        return lambda _params, _x, feats, _key: change(feats)

    assert found(target_feats=judge(lambda feats: feats)) == []
    (line,) = found(
        target_feats=judge(lambda feats: {**feats, "role": feats["role"][..., :1]})
    )
    assert line.startswith("target_feats['role'] (as in encode's feats): got")
    (line,) = found(target_feats=judge(lambda feats: {"role": feats["role"][:1]}))
    assert line.startswith("target_feats['role']: got")
    (line,) = found(target_feats=judge(lambda feats: feats["role"]))
    assert line.startswith("target_feats: got ShapeDtypeStruct; allowed: arrays by")


def test_records_that_return_other_shapes_are_found(record):
    method, found = record

    def narrow(*args):
        out, hidden = method.q_values(*args)
        return out._replace(q=out.q[..., :-1]), hidden

    def last_only(*args):
        out, hidden = method.q_values(*args)
        return out, {name: h[-1] for name, h in hidden.items()}

    def renamed(*args):
        out, hidden = method.q_values(*args)
        return out, {"other": hidden["agent"]}

    def summed(*args):
        feats, hidden = method.encode(*args)
        return {"role": feats["role"].mean(2)}, hidden

    def numbered(*args):
        feats, hidden = method.encode(*args)
        return {"role": feats["role"].argmax(-1)}, hidden

    def other_feats(*args):
        out, hidden = method.q_values(*args)
        return out._replace(feats={**out.feats, "more": jnp.zeros(2)}), hidden

    (text,) = found(q_values=narrow)
    assert text == "q_values' q: got float32[3, 2, 3, 4]; allowed: float32[3, 2, 3, 5]"
    assert (
        "recurrent state 'agent': got float32[2, 3, 8]" in found(q_values=last_only)[0]
    )
    assert "recurrent states other are returned" in found(q_values=renamed)[0]
    assert "encode's feats['role']: got [3, 2, 4]" in found(encode=summed)[0]
    assert "got [3, 2, 3]; allowed: [T, B, N, Z]" in found(encode=numbered)[0]
    assert "q_values' feats['more']: got [2]" in found(q_values=other_feats)[0]
    assert "got dict; allowed: a pair" in found(encode=lambda *a: {})[0]
    assert "no_such, which init does not make" in found(target_groups=("no_such",))[0]
    assert "q_values(...) fails with KeyError" in found(encode=lambda *a: ({}, {}))[0]


WRONG_ACTING = {
    "explore": (
        (
            lambda moment, actions, carry: (actions * 1.0, carry),
            r"explore's actions: got float32\[2, 3\]; allowed: int32\[2, 3\]",
        ),
        (
            lambda moment, actions, carry: (actions, {}),
            r"explore's recurrent states: its structure is",
        ),
        (lambda moment, actions, carry: actions, r"explore: got .*; allowed: a pair"),
    ),
    "role_metrics": (
        (
            lambda params, view: {"spread": view.role.std((0, 1, 2))},
            r"role_metrics' 'spread': got \[4\]; allowed: a scalar",
        ),
        (lambda params, view: view.role.std(), r"allowed: scalars by name"),
    ),
    "intrinsic": (
        (
            lambda ctx, out: Intrinsic(ctx.batch.reward[:, :1]),
            r"intrinsic's reward: got \[3, 1\]; allowed: a scalar, or \[T, B\]",
        ),
        (lambda ctx, out: Intrinsic(ctx.batch.no_such), r"fails with AttributeError"),
    ),
}
RIGHT_ACTING = {
    "role_metrics": lambda params, view: {"spread": view.role.std()},
    "intrinsic": lambda ctx, out: Intrinsic(ctx.batch.reward),
}


def test_what_acting_and_judging_read_is_found(record):
    method, _ = record
    learner = make_learner(soft(), SPEC)

    def found(**changes):
        changed = dataclasses.replace(method, **changes)
        try:
            return told(records.acting_faults(changed, learner))
        except Stop as stop:
            return told([stop.finding])

    assert found() == found(**RIGHT_ACTING) == []
    for name, cases in WRONG_ACTING.items():
        for function, text in cases:
            (one,) = found(**{name: function})
            assert re.search(text, one), one


@pytest.mark.slow
def test_losses_of_padded_steps_have_to_be_finite(record, monkeypatch):
    method, _ = record

    def small(params, ctx, out):
        return {"undecided": jnp.log(jnp.abs(ctx.batch.obs[:-1]).mean((-1, -2)))}

    monkeypatch.setattr(f"{method.init.func.__module__}.extra_losses", small)
    learner = make_learner(soft(), SPEC)
    (text,) = told(methods._learning_faults(learner, method, 0))
    assert "not finite in padded steps" in text and "undecided" in text


def sooner(values):
    """Everything one step too early, at a sequence's first step that of its last."""
    return jnp.roll(values, -1, axis=0)


def remembered(method, **changes):
    return told(memory.memory_faults(dataclasses.replace(method, **changes), SPEC, 0))


@pytest.mark.slow
def test_a_memory_that_crosses_episodes_or_rows_is_found(record):
    method, _ = record

    def forgets_to_forget(params, x, feats, carry):
        return method.q_values(params, x._replace(reset=x.reset & False), feats, carry)

    def mixes_rows(params, x, feats, carry):
        return method.q_values(params, x, {"role": feats["role"][:, ::-1]}, carry)

    def small(*args):
        out, hidden = forgets_to_forget(*args)
        return out._replace(q=1e-5 * out.q), hidden

    assert remembered(method) == []
    for q_values in (forgets_to_forget, small):
        (text,) = remembered(method, q_values=q_values)
        assert text.startswith("outputs depend on the episode before: action values")
    assert "depend on another row" in remembered(method, q_values=mixes_rows)[-1]


@pytest.mark.slow
def test_what_looks_ahead_is_found(record):
    """In features that nothing reads, and where only drawn roles do."""
    method, _ = record

    def idle(*args):
        feats, hidden = method.encode(*args)
        return {**feats, "next": sooner(feats["role"])}, hidden

    def drawn(params, x, carry, key):
        feats, hidden = method.encode(params, x, carry, key)
        role = feats["role"] if key is None else sooner(feats["role"])
        return {"role": role}, hidden

    text = remembered(method, encode=idle)[0]
    assert text.startswith("a sequence step by step gives other outputs than at once")
    assert "encode's feats['next'] (by" in text and "use no later step" in text
    assert "action values" not in text
    text = remembered(method, encode=drawn)[0]
    assert text.startswith("with a key outputs depend on later steps: action values")


def test_what_no_gradient_reaches_is_named():
    before = {"a": {"w": jnp.ones(2), "b": jnp.ones(2)}, "idle": {"w": jnp.ones(2)}}
    after = {"a": {"w": jnp.zeros(2), "b": jnp.ones(2)}, "idle": before["idle"]}
    found = list(methods._untouched(before, after, ()))
    assert told(found, "note") == ["no gradient reaches a['b']"]
    assert told(found)[0].startswith("no gradient reaches the parameter group 'idle'")
    assert told(methods._untouched(before, after, ("idle",))) == []


def test_shipped_methods_pass():
    """As far as shapes tell; the rest is slow."""
    for algo, kind in (("qmix", RoleMethod), ("mappo", PolicyMethod)):
        method = roles.make_method(shrink(load_algo(algo))["role"], SPEC, kind)
        assert records.record_faults(method, SPEC) == []


@pytest.mark.slow
@pytest.mark.parametrize("algo", ALGOS)
def test_every_method_passes(algo):
    assert told(check_method(shrink(load_algo(algo)), SPEC)) == []
