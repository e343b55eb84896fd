"""The policy learner against hand computation and plain NumPy."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_worlds import algo, losses_of

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.learners import make_learner, mappo
from rolemarl_jax.learners.parts import ppo_epochs as epochs
from rolemarl_jax.learners.parts.ppo_block import (
    Sequences,
    final_values,
    forward,
    prepare,
    sequences,
)
from rolemarl_jax.nets.critic import RoleCritic
from rolemarl_jax.ops.gae import standardised
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.method import PolicyMethod
from rolemarl_jax.roles.parts.shaping import make_shaping
from rolemarl_jax.types import EnvSpec, Inputs, Observation, Trajectory

SPEC = EnvSpec("test", 3, 4, 5, 6, 4)
T, B, N, A = 7, 3, 3, 4
SMALL = {
    "role__actor_hidden": 8,
    "role__critic_hidden": 4,
    "role__heads": 2,
    "role__attention": 8,
    "role__out": 4,
    "role__critic_head": 8,
    "role__embedding": 8,
    "role__role": 4,
    "role__kmeans_iterations": 2,
}


def make(name, **changes):
    values = algo(name, minibatch=None, epochs=2, **changes)
    cfg = build(mappo.Config, values, "algo")
    method = make_method(cfg.role, SPEC, PolicyMethod)
    return cfg, method, make_shaping(cfg.shaping, SPEC), make_learner(values, SPEC)


def block(carry, seed=0):
    """A block with terminations, truncations and an agent without a choice."""
    rng = np.random.default_rng(seed)
    terminated, truncated = np.zeros((2, T, B), bool)
    terminated[2, 0] = truncated[3, 1] = truncated[T - 1, 2] = True
    reset = np.zeros((T, B), bool)
    reset[1:] = (terminated | truncated)[:-1]
    action = rng.integers(0, A, (T, B, N))
    last = np.concatenate([action[:1], action[:-1]])
    avail = rng.random((T, B, N, A)) < 0.6
    np.put_along_axis(avail, action[..., None], True, -1)
    avail[:, :, 2] = np.eye(A, dtype=bool)[action[:, :, 2]]

    def seen(*lead):
        obs, state = rng.normal(size=(*lead, N, 5)), rng.normal(size=(*lead, 6))
        return jnp.array(obs, jnp.float32), jnp.array(state, jnp.float32)

    carry = jax.tree.map(lambda x: jnp.array(rng.normal(size=x.shape), x.dtype), carry)
    at = np.array([[T, 3, T - 1], [T - 1] * B])
    return Trajectory(
        *seen(T, B),
        avail=jnp.array(avail),
        last_action=jnp.array(np.where(reset[..., None], -1, last)),
        reset=jnp.array(reset),
        action=jnp.array(action),
        reward=jnp.array(rng.normal(size=(T, B)), jnp.float32),
        terminated=jnp.array(terminated),
        truncated=jnp.array(truncated),
        mask=jnp.ones((T, B)),
        carry=carry,
        final=Observation(*seen(2, B), jnp.ones((2, B, N, A), bool)),
        final_at=jnp.array(at, jnp.int32),
    )


def prepared(cfg, method, shaping, state, fresh):
    """What is computed once a block."""

    @jax.jit
    def both(state, fresh):
        before = forward(method, state.params, sequences(fresh))
        return prepare(cfg, method, shaping, state, fresh, before)

    return both(state, fresh)


@pytest.mark.parametrize(
    "name", ["mappo", pytest.param("acorm_mappo", marks=pytest.mark.slow)]
)
def test_final_observations_are_valued_with_their_past(name):
    """Each bootstrap equals unrolling that world up to its final observation."""
    changes = SMALL if name == "acorm_mappo" else {"role__hidden": 6}
    _, method, _, learner = make(name, **changes)
    params = jax.jit(learner.init)(jax.random.key(0)).params
    fresh = block(learner.carry(B))

    @jax.jit
    def unroll(params, x, state, carry):
        seq = Sequences(x, state, None, None, None, carry)
        (_, value), hidden = forward(method, params, seq)
        return value, hidden

    _, hidden = unroll(params, fresh.inputs, fresh.state, fresh.carry)
    got = jax.jit(partial(final_values, method))(params, fresh, hidden)
    # All worlds at once, each overwritten from the slot after its final step on.
    padded = jax.tree.map(
        lambda x: np.concatenate([x, x[:1]]), (fresh.inputs, fresh.state)
    )
    for k in range(2):
        (obs, last, reset), state = jax.tree.map(np.copy, padded)
        for b in range(B):
            t = min(int(fresh.final_at[k, b]) + 1, T)
            obs[t, b], state[t, b] = fresh.final.obs[k, b], fresh.final.state[k, b]
            last[t, b], reset[t, b] = fresh.action[t - 1, b], False
        value, _ = unroll(params, Inputs(obs, last, reset), state, fresh.carry)
        for b in range(B):
            t = int(fresh.final_at[k, b]) + 1
            if t <= T:
                np.testing.assert_allclose(got[k, b], value[t, b], rtol=1e-4, atol=1e-5)


def test_prepared_block():
    """Ratios start at one; targets do not depend on whether values are normalised."""
    cfg, method, shaping, learner = make("mappo", role__hidden=6, role__logits_gain=1.0)
    state = jax.jit(learner.init)(jax.random.key(0))
    fresh = block(learner.carry(B))
    old, _ = prepared(cfg, method, shaping, state, fresh)
    losses = jax.jit(partial(losses_of, cfg, method))
    metrics = losses(state.params, sequences(fresh), old).metrics
    np.testing.assert_allclose(metrics["kl"], 0, atol=1e-6)
    assert (old.weight[:, :, 2] == 0).all()
    np.testing.assert_allclose(old.weight.mean(), 1, rtol=1e-6)
    terminal = old.target[2, 0]
    np.testing.assert_allclose(terminal, np.full(N, fresh.reward[2, 0]), rtol=1e-5)

    normed, *_, other = make("mappo", role__hidden=6, value_norm=0.9)
    begun = jax.jit(other.init)(jax.random.key(0))
    scaled, aux = prepared(normed, method, shaping, begun, fresh)
    np.testing.assert_allclose(scaled.target.mean(), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.target.std(), 1, atol=1e-3)
    np.testing.assert_allclose(aux["value"].mean, 0.1 * old.target.mean(), 1e-4)


def test_agents_without_choice_change_no_policy():
    """Their values may be anything: advantages of the others stay equal."""
    x = jnp.array(np.random.default_rng(0).normal(size=(4, 2, 3)), jnp.float32)
    choice = jnp.ones((4, 2, 3)).at[..., 2].set(0)
    plain = standardised(x, choice)
    moved = standardised(x.at[..., 2].add(100.0), choice)
    np.testing.assert_allclose(plain[..., :2], moved[..., :2], rtol=1e-5)


def test_role_critic_against_numpy():
    rng = np.random.default_rng(2)
    H, heads, width, out = 4, 2, 6, 3
    net = RoleCritic(N, H, heads, width, out, 7)
    data = [(T, B, N, 5), (T, B, 6), (T, B, N, 2), (B, N, H), (B, N * H)]
    obs, state, roles, own0, team0 = (
        rng.normal(size=s).astype(np.float32) for s in data
    )
    reset = rng.random((T, B)) < 0.3
    args = (obs, state, jnp.array(reset), roles, own0, team0)
    tree = jax.jit(net.init)(jax.random.key(0), *args)
    value, own, team = map(np.array, jax.jit(net.apply)(tree, *args))
    p = jax.tree.map(np.array, tree["params"])

    def gru(q, x, h):
        gx, gh = x @ q["w_in"] + q["b_in"], h @ q["w"] + q["b"]
        n = h.shape[-1]
        r, z = (1 / (1 + np.exp(-(gx + gh)[..., i * n : (i + 1) * n])) for i in (0, 1))
        return (1 - z) * np.tanh(gx[..., 2 * n :] + r * gh[..., 2 * n :]) + z * h

    def linear(q, x):
        return x @ q["kernel"] + q.get("bias", 0)

    for b in range(B):
        h, g = own0[b], team0[b]
        for t in range(T):
            if reset[t, b]:
                h, g = 0 * h, 0 * g
            h = gru(p["own"], np.maximum(linear(p["own_in"], obs[t, b]), 0), h)
            s = np.maximum(linear(p["state"]["Linear_0"], state[t, b]), 0)
            g = gru(p["state"]["GRU_0"], s, g)
            q, att = g.reshape(N, H), p["AttentionContext_0"]
            q, k, v = (
                linear(att[n], x)
                for n, x in zip("qkv", (q, *[roles[t, b]] * 2), strict=True)
            )
            mixed = np.zeros((N, width))
            for part in np.split(np.arange(width), heads):
                e = np.exp(q[:, part] @ k[:, part].T / len(part) ** 0.5)
                mixed[:, part] = e / e.sum(1, keepdims=True) @ v[:, part]
            mixed = linear(att["o"], mixed)
            for i in range(N):
                x = np.concatenate([h[i], g, mixed.ravel()])
                want = linear(p["value"], np.maximum(linear(p, x), 0))[0]
                np.testing.assert_allclose(value[t, b, i], want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(own[-1, b], h, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(team[-1, b], g, rtol=1e-4, atol=1e-5)


def test_gradients_stay_in_their_groups():
    cfg, method, shaping, learner = make("acorm_mappo", **SMALL)
    state = jax.jit(learner.init)(jax.random.key(0))
    fresh = block(learner.carry(B))
    seq, (old, _) = sequences(fresh), prepared(cfg, method, shaping, state, fresh)

    @jax.jit
    def touched(params):
        """Groups that each loss reaches."""

        def loss(params, name):
            return losses_of(cfg, method, params, seq, old).losses[name].sum()

        def reached(name):
            grads = jax.grad(loss)(params, name)
            return {
                group: sum(abs(x).sum() for x in jax.tree.leaves(tree))
                for group, tree in grads.items()
            }

        return {name: reached(name) for name in ("actor", "critic")}

    sums = touched(state.params)
    groups = {n: {g for g, x in s.items() if x > 0} for n, s in sums.items()}
    assert groups["actor"] == set(method.actor_groups)
    assert groups["critic"] == set(method.critic_groups)


def test_padding_changes_nothing():
    """Worlds that end before the block does, as lanes of a bridge do."""
    *_, learner = make("mappo", role__hidden=6, value_norm=0.9)
    fresh, more = block(learner.carry(B)), 3
    fresh = fresh._replace(
        terminated=fresh.terminated.at[-1].set(True),
        truncated=fresh.truncated.at[-1].set(False),
    )
    nothing = {"reset": True, "terminated": True, "last_action": -1}

    def longer(name, x):
        pad = jnp.full((more, *x.shape[1:]), nothing.get(name, 0), x.dtype)
        return jnp.concatenate([x, pad])

    per_step = [n for n in fresh._fields if n not in ("carry", "final", "final_at")]
    padded = fresh._replace(**{n: longer(n, getattr(fresh, n)) for n in per_step})
    only_first = jnp.arange(A) == 0
    padded = padded._replace(
        avail=padded.avail.at[T:].set(only_first),
        final_at=jnp.where(fresh.final_at == T, T + more, fresh.final_at),
    )
    state = jax.jit(learner.init)(jax.random.key(0))
    outs = [
        learner.update(state, x, jnp.zeros((), jnp.int32), jax.random.key(1))
        for x in (fresh, padded)
    ]
    for x, y in zip(*map(jax.tree.leaves, outs), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mappo", "acorm_mappo"])
def test_one_minibatch_is_the_whole_block(name, monkeypatch):
    """The same iteration whether or not its first forward pass is made twice."""
    changes = SMALL if name == "acorm_mappo" else {"role__hidden": 6}
    changes = {**changes, "value_norm": 0.9, "value_clip": 0.1}

    def updated():
        *_, learner = make(name, **changes)
        state = jax.jit(learner.init)(jax.random.key(0))
        fresh = block(learner.carry(B))
        return learner.update(state, fresh, jnp.int32(0), jax.random.key(1))

    shared = updated()
    monkeypatch.setattr(epochs, "_whole", _twice)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        shared,
        updated(),
    )


def test_old_values_are_computed_once_for_mapped_seeds_too():
    """The branch of the first epoch stays one where seeds are a batch."""
    *_, learner = make("mappo", role__hidden=6)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), state)
    args = (block(learner.carry(B)), jnp.int32(0), jax.random.key(1))
    mapped = jax.vmap(learner.update, in_axes=(0, None, None, None))
    branches = [
        str(jax.make_jaxpr(update)(learned, *args)).count(" cond[")
        for update, learned in ((learner.update, state), (mapped, many))
    ]
    assert branches[0] == branches[1] > 0


def _twice(setup, *args):
    """Minibatches of all sequences, which are shuffled."""
    whole = dataclasses.replace(setup.cfg, minibatch=B)
    return epochs._in_minibatches(setup._replace(cfg=whole), *args)


def test_update_moves_what_is_due():
    *_, learner = make("acorm_mappo", role__contrastive_every=2, **SMALL)
    state, key = jax.jit(learner.init)(jax.random.key(0)), jax.random.key(1)
    fresh = block(learner.carry(B))

    def moved(t):
        new, metrics, _ = learner.update(state, fresh, jnp.int32(t), key)
        pairs = {g: (new.params[g], state.params[g]) for g in state.params}
        differ = {
            g
            for g, (a, b) in pairs.items()
            if any(map(np.any, jax.tree.leaves(jax.tree.map(jnp.not_equal, a, b))))
        }
        return differ, metrics["contrastive/loss_contrastive"]

    ppo = {"actor", "critic", "embedding", "role", "key"}
    groups, loss = moved(0)
    assert groups == ppo and np.isnan(loss)
    groups, loss = moved(1)
    assert groups == {*ppo, "similarity"} and np.isfinite(loss)


def test_pretraining_counts_gradient_steps():
    changes = {"role__pretrain_embedding": 30, "pretrain_steps": 10}
    *_, learner = make("acorm_mappo", **SMALL, **changes)
    assert [(s.name, s.updates) for s in learner.pretraining] == [
        ("embedding", 3),
        ("contrastive", 6),
    ]
    state, fresh = jax.jit(learner.init)(jax.random.key(0)), block(learner.carry(B))
    update = learner.pretraining[0].update
    losses = []
    for _ in range(3):
        state, metrics, _ = update(state, fresh, jnp.int32(0), jax.random.key(1))
        losses.append(float(metrics["embedding/loss_decoder"]))
    assert losses[2] < losses[1] < losses[0]
    with pytest.raises(ConfigError, match=r"algo\.pretrain_steps: got 0"):
        make("acorm_mappo", pretrain_steps=0)


@pytest.mark.parametrize("ticks", [1, T])
def test_pretraining_where_nothing_is_seen_next(ticks):
    """In a block of one tick, and where every episode has one step."""
    *_, learner = make("acorm_mappo", **SMALL, pretrain_steps=1)
    state, fresh = jax.jit(learner.init)(jax.random.key(0)), block(learner.carry(B))
    names = ("obs", "state", "avail", "last_action", "action", "reward", "mask")
    cut = {n: getattr(fresh, n)[:ticks] for n in names}
    always = jnp.ones((ticks, B), bool)
    ends = {"reset": always, "terminated": always, "truncated": ~always}
    out = learner.pretraining[0].update(
        state, fresh._replace(**cut, **ends), jnp.int32(0), jax.random.key(1)
    )
    assert out.finite and out.metrics["embedding/loss_decoder"] == 0
    jax.tree.map(np.testing.assert_array_equal, out.state.params, state.params)


def test_critics_of_mappo_and_ippo_differ_in_the_state():
    for name, reads in (("mappo", True), ("ippo", False)):
        _, method, _, learner = make(name, role__hidden=6)
        params, fresh = (
            jax.jit(learner.init)(jax.random.key(0)).params,
            block(learner.carry(B)),
        )
        args = (params, fresh.inputs)
        judge = jax.jit(method.value)
        value, _ = judge(*args, fresh.state, {}, fresh.carry)
        other, _ = judge(*args, fresh.state + 1, {}, fresh.carry)
        assert bool((value != other).any()) == reads


def test_wrong_names():
    with pytest.raises(
        ConfigError, match=r"'plain', which is for another algo.learner"
    ):
        make("mappo", role={"name": "plain"})
    with pytest.raises(ConfigError, match=r"algo\.role\.heads: got 3"):
        make("acorm_mappo", **{**SMALL, "role__heads": 3})
    with pytest.raises(ConfigError, match="did you mean 'eoi'"):
        make("mappo", shaping={"name": "eo"})
