"""Role-blind utility networks: recurrent or not, shared or not, of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, load_algo, load_paper, random_batch, value_based

from rolemarl_jax.nets.agents import Recurrent
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.roles import make_method
from rolemarl_jax.types import EnvSpec

# 2s3z's sizes.
MIDDLE = EnvSpec("middle", 5, 11, 80, 120, 60)


def method_of(algo="qmix", spec=SPEC, **keys):
    return make_method(load_algo(algo)["role"] | keys, spec)


def values(method, params, x):
    zeros = method.carry(x.obs.shape[1])
    return jax.jit(lambda p, x: method.q_values(p, x, {}, zeros)[0].q)(params, x)


def size(algo):
    shapes = jax.eval_shape(method_of(algo, MIDDLE).init, jax.random.key(0))
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes))


def test_parameter_counts_of_roma_and_its_baselines():
    """QMIX-LAR is as large as ROMA to 4 per cent; the paper's widths miss by 19."""
    counts = {algo: size(algo) for algo in ("qmix", "qmix_lar", "roma", "qmix_nps")}
    assert counts == {
        "qmix": 31_883,
        "qmix_lar": 46_395,
        "roma": 47_976,
        "qmix_nps": 5 * 31_883,
    }


def test_the_papers_run_has_one_step_targets_and_one_rate():
    """Of all that learn from replay; those of grid worlds have numbers of their own."""
    papers = {name: load_paper(name) for name in value_based()}
    assert {name: algo["td_lambda"] for name, algo in papers.items()} == dict.fromkeys(
        papers, 0.0
    )
    rates = {name: a["lr"] for name, a in papers.items() if "grid" not in name}
    assert rates == dict.fromkeys(rates, 6e-4) and len(rates) > 20


@pytest.mark.parametrize("recurrent", [True, False])
def test_own_weights_move_own_values_only(recurrent):
    method = method_of(shared=False, recurrent=recurrent, layers=[9])
    params, x = jax.jit(method.init)(jax.random.key(0)), random_batch(SPEC).inputs
    leaves = jax.tree.leaves(params)
    assert all(leaf.shape[0] == SPEC.n_agents for leaf in leaves)
    # Every agent starts from weights of its own.
    assert all((leaf[0] != leaf[1]).any() for leaf in leaves)
    changed = jax.tree.map(lambda p: p.at[1].add(0.1), params)
    moved = values(method, params, x) != values(method, changed, x)
    assert moved[:, :, 1].any() and not moved[:, :, jnp.array([0, 2])].any()


def test_unshared_network_is_the_shared_one_for_each_agent():
    method = method_of(shared=False)
    params, x = jax.jit(method.init)(jax.random.key(0)), random_batch(SPEC).inputs
    shared = method_of()
    for i in range(SPEC.n_agents):
        own = jax.tree.map(lambda p, i=i: p[i], params)
        np.testing.assert_allclose(
            values(method, params, x)[:, :, i],
            values(shared, own, x)[:, :, i],
            rtol=1e-5,
            atol=1e-6,
        )


def test_perceptron_has_no_memory():
    method = method_of(recurrent=False, layers=[16])
    params, x = jax.jit(method.init)(jax.random.key(0)), random_batch(SPEC).inputs
    assert method.carry(3) == {}
    q = values(method, params, x)
    later = jax.tree.map(lambda v: v[3:], x)
    np.testing.assert_allclose(q[3:], values(method, params, later), rtol=1e-5)
    p = params["agent"]["params"]
    assert [p[f"Linear_{i}"]["bias"].shape for i in range(3)] == [(64,), (16,), (5,)]


@pytest.mark.parametrize("algo", ["qmix_grid", "eoi_grid", "eoi_explore"])
@pytest.mark.parametrize("recurrent", [True, False])
def test_every_form_heeds_the_norm(algo, recurrent):
    """Values do not change with the first layer's size, where a norm follows it."""
    role = load_algo(algo)["role"]
    network = {"recurrent": recurrent, "normed": True}
    own = {"agent": role["agent"] | network} if "agent" in role else network
    method, x = method_of(algo, **own), random_batch(SPEC).inputs
    params = jax.jit(method.init)(jax.random.key(0))
    agent = params["agent"]["params"]
    larger = {**agent, "Linear_0": jax.tree.map(lambda w: 7 * w, agent["Linear_0"])}
    scaled = values(method, {**params, "agent": {"params": larger}}, x)
    np.testing.assert_allclose(scaled, values(method, params, x), rtol=1e-3, atol=1e-4)
    assert agent["norm"]["scale"].shape == agent["norm"]["bias"].shape


def test_the_norm_of_a_perceptron_is_before_its_first_relu():
    net, x = MLP((4, 3, 2), normed=True), jnp.arange(10.0).reshape(2, 5) ** 2
    params = net.init(jax.random.key(0), x)["params"]
    p = [jax.tree.map(np.asarray, params[f"Linear_{i}"]) for i in range(3)]
    y = np.asarray(x) @ p[0]["kernel"] + p[0]["bias"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
    for layer in p[1:]:
        y = np.maximum(y, 0) @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(net.apply({"params": params}, x), y, rtol=1e-4)


def test_layers_are_relu_between_memory_and_values():
    net = Recurrent(4, 2, (3,))
    x, h0 = jnp.ones((1, 1, 1, 5)), jnp.zeros((1, 1, 4))
    reset = jnp.zeros((1, 1), bool)
    params = net.init(jax.random.key(1), x, h0, reset)
    q, h = net.apply(params, x, h0, reset)
    p = jax.tree.map(np.asarray, params["params"])
    y = np.maximum(h @ p["Linear_1"]["kernel"] + p["Linear_1"]["bias"], 0)
    expected = y @ p["Linear_2"]["kernel"] + p["Linear_2"]["bias"]
    np.testing.assert_allclose(q, expected, rtol=1e-5)
