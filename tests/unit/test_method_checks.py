"""Checks pass every method that is shipped, and find each broken one."""

import dataclasses

import jax.numpy as jnp
import pytest
from support import ALGOS, SPEC, load_algo, shrink

from experiments import configure
from rolemarl_jax import roles
from rolemarl_jax.checks import method as methods
from rolemarl_jax.checks import records
from rolemarl_jax.checks.findings import Stop
from rolemarl_jax.checks.method import check_method
from rolemarl_jax.roles.parts.method import PolicyMethod, RoleMethod


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

    (text,) = found(q_values=narrow)
    assert text == "q_values' q: got float32[3, 2, 3, 4]; allowed: float32[3, 2, 3, 5]"
    assert (
        "recurrent state 'agent': got float32[2, 3, 8]" in found(q_values=last_only)[0]
    )
    assert "recurrent states other are returned" in found(q_values=renamed)[0]
    assert "encode's feats['role']: got [3, 2, 4]" in found(encode=summed)[0]
    assert "got dict; allowed: a pair" in found(encode=lambda *a: {})[0]
    assert "no_such, which init does not make" in found(target_groups=("no_such",))[0]
    assert "q_values(...) fails with KeyError" in found(encode=lambda *a: ({}, {}))[0]


@pytest.mark.slow
def test_a_memory_that_crosses_episodes_or_rows_is_found(record):
    method, _ = record

    def found(**changes):
        changed = dataclasses.replace(method, **changes)
        return told(methods._memory_faults(changed, SPEC, 0))

    def forgets_to_forget(params, x, feats, carry):
        return method.q_values(params, x._replace(reset=x.reset & False), feats, carry)

    def mixes_rows(params, x, feats, carry):
        return method.q_values(params, x, {"role": feats["role"][:, ::-1]}, carry)

    assert "depend on the episode before" in found(q_values=forgets_to_forget)[0]
    assert "depend on another row" in found(q_values=mixes_rows)[-1]


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
