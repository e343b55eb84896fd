"""PQN: its targets, loss and passes against NumPy and by hand."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, random_batch, small_algo

from rolemarl_jax.config import build
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts import values
from rolemarl_jax.learners.parts.minibatches import shuffled
from rolemarl_jax.learners.parts.phases import run_phase
from rolemarl_jax.learners.parts.precision import of_state
from rolemarl_jax.learners.parts.td_step import (
    Values,
    judged,
    rewarded,
    td_losses,
    td_phase,
)
from rolemarl_jax.learners.pqn import Config, take
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.ops.td import UNAVAILABLE
from rolemarl_jax.rng import named
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.types import AgentState, Observation

KEY, AT = jax.random.key(5), jnp.asarray(0)
GAMMA, LAM, SCALE = 0.9, 0.7, 2.0
# The algorithm of the paper, which has no target network.
PLAIN = {"slow_target": None}
OVER = {"gamma": GAMMA, "td_lambda": LAM, "reward_scale": SCALE, **PLAIN}


def block(seed=0, worlds=8):
    """Rows that begin in mid-episode, with what their agents remember."""
    batch = random_batch(SPEC, T=7, B=worlds, seed=seed, lengths=[7, 3, 5, 1] * 2)
    g = np.random.default_rng(seed)
    carry = {"agent": jnp.asarray(g.normal(size=(worlds, 3, 16)), jnp.float32)}
    reset = batch.reset.at[0].set(jnp.arange(worlds) % 2 == 0)
    return batch._replace(carry=carry, reset=reset)


def learner(**over):
    return make_learner(small_algo("pqn_qmix", {**OVER, **over}), SPEC)


def parts(over=None):
    cfg = build(Config, small_algo("pqn_qmix", {**OVER, **(over or {})}), "algo")
    return Values(make_method(cfg.role, SPEC), make_mixer(cfg.mixer, SPEC), True)


def lambda_returns(batch, value):
    """TD(lambda) targets, step by step from the end."""
    reward, mask = SCALE * np.asarray(batch.reward), np.asarray(batch.mask)
    target = np.zeros_like(reward)
    for b in range(reward.shape[1]):
        later = None
        for t in reversed(range(reward.shape[0])):
            if not mask[t, b]:
                later = None
                continue
            ahead = value[t + 1, b]
            mixed = ahead if later is None else (1 - LAM) * ahead + LAM * later
            stop = bool(batch.terminated[t, b])
            target[t, b] = reward[t, b] + (0.0 if stop else GAMMA * mixed)
            later = target[t, b]
    return target


def test_targets_and_loss():
    """From the network's own values alone, with no copy of it anywhere."""
    nets, batch = parts(), block()
    state = learner().init(jax.random.key(1))
    assert state.target == {}
    x, method, params = batch.inputs, nets.method, state.params
    q = np.asarray(method.q_values(params, x, {}, batch.carry)[0].q)
    best = np.where(batch.avail, q, UNAVAILABLE).argmax(-1)

    def mixed(action):
        picked = np.take_along_axis(q, np.asarray(action)[..., None], -1)[..., 0]
        encoded = nets.mixer.encode(params, batch.state, batch.reset)
        return np.asarray(nets.mixer.mix(params, jnp.asarray(picked), encoded, {}))

    target = lambda_returns(batch, mixed(best))
    taken = mixed(np.concatenate([batch.action, np.zeros((1, 8, 3), int)]))[:-1]
    got = td_losses(nets, params, Context(state, batch, KEY))
    mask = np.asarray(batch.mask)
    np.testing.assert_allclose(
        got.losses["td"] * mask, mask * (taken - target) ** 2, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("algo", "over", "own", "times"),
    [
        ("pqn_acorm", PLAIN, True, 1),
        ("pqn_acorm", {}, True, 2),
        ("acorm", {}, True, 2),
        ("acorm", {}, False, 1),
    ],
)
def test_a_state_is_encoded_once_a_copy_of_the_encoder(algo, over, own, times):
    values_of = small_algo(algo, {"mixer": {"own_state_encoder": own}, **over})
    learner = make_learner(values_of, SPEC)
    method = make_method(values_of["role"], SPEC)
    mixer, encoded = make_mixer(values_of["mixer"], SPEC), []

    def encode(*args):
        encoded.append(args)
        return mixer.encode(*args)

    nets = Values(method, dataclasses.replace(mixer, encode=encode), True)
    state = jax.eval_shape(learner.init, KEY)
    batch = random_batch(SPEC, T=5, B=2, lengths=[5, 3])

    def loss(params, state):
        return td_losses(nets, params, Context(state, batch, KEY)).losses["td"]

    jax.eval_shape(loss, state.params, state)
    assert len(encoded) == times


def test_no_gradient_through_the_target():
    nets, batch = parts(), block()
    state = learner().init(jax.random.key(1))
    ctx = Context(state, batch, KEY)

    def loss(params, other):
        """The second arguments stand where the target is made."""
        stopped = jax.lax.stop_gradient(other)
        twin = ctx._replace(state=state._replace(target=stopped))
        return (td_losses(nets, params, twin).losses["td"] * batch.mask).sum()

    def own(params):
        return (td_losses(nets, params, ctx).losses["td"] * batch.mask).sum()

    grads = jax.grad(own)(state.params), jax.grad(loss)(state.params, state.params)
    for mine, theirs in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("slow_target", [None, 0.25])
def test_steps_of_an_update(slow_target):
    """Each TD step reads its own worlds, with the parameters of the step before."""
    made = learner(epochs=2, minibatch=4, slow_target=slow_target)
    state, batch = apart(made), block()
    out = made.update(state, batch, AT, KEY)
    cfg = build(Config, small_algo("pqn_qmix", OVER), "algo")
    phase = td_phase(parts(), cfg.optimiser, cfg.loss_scales)
    picks = np.asarray(shuffled(8, 4, 2, KEY))
    assert picks.shape == (4, 4)
    for epoch in picks.reshape(2, 8):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(8))
    losses, one = [], jax.jit(partial(run_phase, phase))
    for i, pick in enumerate(picks):
        key = named(named(KEY, "td"), "step", i)
        done = one(state, take(batch, pick), jnp.ones(()), key)
        state, losses = done.state, [*losses, done.metrics["td/loss_td"]]
    for got, expected in zip(
        jax.tree.leaves(out.state.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out.metrics["td/loss_td"], np.mean(losses), rtol=1e-4)


def apart(made):
    """A state whose target network, if there is one, is another network."""
    state, other = (made.init(jax.random.key(seed)) for seed in (1, 9))
    return state._replace(target=other.target)


@pytest.mark.parametrize(
    ("algo", "known"), [("pqn_qmix", {"q"}), ("pqn_acorm", {"encoded"})]
)
def test_the_target_network_is_asked_once_a_block(algo, known):
    """What it gives ahead is what a TD step on some of the worlds would ask it for."""
    nets, state = made_of(algo)
    batch, pick = block(), np.array([5, 2])
    if algo == "pqn_acorm":
        batch = batch._replace(carry=nets.method.carry(8))
    ahead = take(judged(nets, state, batch), pick)
    given = {k: x for k, x in ahead.ahead._asdict().items() if x is not None}
    assert given.keys() == known
    zeros = ahead.ahead._replace(**jax.tree.map(jnp.zeros_like, given))
    asked, told, blind = (
        td_losses(nets, state.params, Context(state, part, KEY)).losses["td"]
        for part in (take(batch, pick), ahead, ahead._replace(ahead=zeros))
    )
    np.testing.assert_allclose(told, asked, rtol=1e-4, atol=1e-6)
    assert np.abs(blind - asked).max() > 0.003


def made_of(algo, over=None):
    """Networks of an algorithm, and a state with a target network unlike them."""
    values_of = small_algo(algo, over or {})
    method = make_method(values_of["role"], SPEC)
    nets = Values(method, make_mixer(values_of["mixer"], SPEC), double_q=True)
    return nets, apart(make_learner(values_of, SPEC))


@pytest.mark.parametrize(
    ("algo", "over"),
    [
        ("pqn_qmix", PLAIN),
        ("pqn_roma", {}),
        ("pqn_acorm", {"mixer": {"own_state_encoder": False}}),
        ("pqn_eoi", {"role": {"borrow": 0.5}}),
    ],
)
def test_the_target_network_is_asked_in_each_step(algo, over):
    """There is none, or the online network has a part in what it gives."""
    values_of = small_algo(algo, over)
    method = make_method(values_of["role"], SPEC)
    nets = Values(method, make_mixer(values_of["mixer"], SPEC), double_q=True)
    state, batch = jax.eval_shape(make_learner(values_of, SPEC).init, KEY), block()
    assert jax.tree.leaves(judged(nets, state, batch).ahead) == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_method_rewards_a_block_once(precision):
    """As a TD step would before any other; those that follow leave it as it is."""
    over = {"precision": precision, "role": {"normalise": 0.5}}
    nets, state = made_of("pqn_r3dm", over)
    batch, exact = block()._replace(carry=nets.method.carry(8)), nets.method.exact
    read = of_state(state, precision, exact)
    ready, bonus = rewarded(nets, Context(read, batch, KEY))
    np.testing.assert_array_equal(ready.ahead.reward, bonus.reward)
    before, after = (
        td_losses(nets, read.params, Context(read, part, KEY))
        for part in (batch, ready)
    )
    tolerance = 1e-4 if precision == "float32" else 0.02
    np.testing.assert_allclose(before.losses["td"], after.losses["td"], tolerance)
    assert before.metrics.keys() - after.metrics.keys() == bonus.metrics.keys()
    assert before.aux.keys() == bonus.aux.keys() and not after.aux
    blind = ready._replace(ahead=ready.ahead._replace(reward=0 * bonus.reward))
    other = td_losses(nets, read.params, Context(read, blind, KEY)).losses["td"]
    assert np.abs(other - after.losses["td"]).max() > 0.003


def test_an_update_tells_of_the_reward_and_keeps_what_it_is_divided_by():
    made = make_learner(small_algo("pqn_r3dm", {"role": {"normalise": 0.5}}), SPEC)
    state, batch = made.init(KEY), block()._replace(carry=made.carry(8))
    out = made.update(state, batch, jnp.zeros((), jnp.int32), KEY)
    square = out.metrics["td/intrinsic_square"]
    assert square > 0 and abs(out.metrics["td/intrinsic_added"]) > 0
    kept = out.state.aux["intrinsic_square"]
    np.testing.assert_allclose(kept, 0.5 * (1 + square), rtol=1e-5)


def test_a_method_without_a_reward_leaves_the_block_as_it_is():
    nets, state = made_of("pqn_qmix")
    batch = block()
    ready, bonus = rewarded(nets, Context(state, batch, KEY))
    assert ready is batch and bonus == (0.0, {}, {})


def test_a_part_has_its_own_worlds():
    batch, pick = block(), np.array([5, 2])
    part = take(batch, pick)
    np.testing.assert_array_equal(part.obs, batch.obs[:, pick])
    np.testing.assert_array_equal(part.carry["agent"], batch.carry["agent"][pick])


def test_slow_target():
    made, batch = learner(slow_target=0.25, epochs=1, minibatch=None), block()
    state = made.init(jax.random.key(1))
    new = made.update(state, batch, AT, KEY).state
    assert set(new.target) == {"agent", "mixer"}
    for old, online, moved in zip(
        *(
            jax.tree.leaves(tree)
            for tree in (
                state.target,
                {g: new.params[g] for g in new.target},
                new.target,
            )
        ),
        strict=True,
    ):
        np.testing.assert_allclose(moved, old + 0.25 * (online - old), rtol=1e-5)


def test_greedy_episodes_are_of_the_mean_weights():
    made, batch = learner(average=0.25, epochs=1, minibatch=None), block()
    state = made.init(jax.random.key(1))
    new = made.update(state, batch, AT, KEY).state
    old = state.params["agent"]
    mean = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, old, new.params["agent"])
    assert set(new.aux["average"]) == {"agent"}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        new.aux["average"]["agent"],
        mean,
    )
    # Weights far from their mean: who is judged reads the mean, who explores does not.
    other = learner().init(jax.random.key(9)).params
    split = new._replace(params=other)
    agents = AgentState(made.carry(8), batch.last_action[0], jnp.ones(8, bool))
    seen = Observation(batch.obs[0], batch.state[0], batch.avail[0])
    plain = made.greedy(new._replace(params={**other, "agent": mean}), agents, seen)[0]
    np.testing.assert_array_equal(made.greedy(split, agents, seen)[0], plain)
    assert made.judged(split).params["agent"] is split.aux["average"]["agent"]
    never = jnp.zeros(())
    acted = made.act(split, agents, seen, never, KEY)[0]
    scores = values.scores(parts().method)(split, agents, seen, {})
    own = np.where(seen.avail, scores, UNAVAILABLE).argmax(-1)
    np.testing.assert_array_equal(acted, own)
    assert (np.asarray(acted) != np.asarray(plain)).any()


@pytest.mark.parametrize("step", [0.25, 1.0])
def test_the_mean_is_the_parameters_while_a_method_is_pretrained(step):
    """Seeds side by side, as a program maps them."""
    made = make_learner(small_algo("pqn_acorm", {"average": step}), SPEC)
    state = jax.vmap(made.init)(jax.random.split(KEY, 2))
    batch = block()._replace(carry=made.carry(8))
    assert made.pretraining
    for stage in made.pretraining:
        update = jax.vmap(stage.update, in_axes=(0, None, None, 0))
        new = update(state, batch, AT, jax.random.split(KEY, 2)).state
        groups = new.aux["average"]
        assert set(groups) == {"agent", "embedding", "role"}
        for group, mean in groups.items():
            jax.tree.map(np.testing.assert_array_equal, mean, new.params[group])
        assert any(
            (x != y).any()
            for group in groups
            for x, y in zip(
                *(jax.tree.leaves(s.params[group]) for s in (state, new)), strict=True
            )
        )
        state = new


def test_rate_decays_by_blocks():
    optimiser = {"decay": 0.5, "decay_every": 3}
    made = learner(optimiser=optimiser, epochs=1, minibatch=None)
    state, batch = made.init(jax.random.key(1)), block()
    early, late = (made.update(state, batch, jnp.asarray(t), KEY) for t in (2, 3))
    moved = [
        np.abs(x - y).max()
        for out in (early, late)
        for x, y in zip(
            jax.tree.leaves(out.state.params["agent"])[:1],
            jax.tree.leaves(state.params["agent"])[:1],
            strict=True,
        )
    ]
    assert moved[1] == pytest.approx(0.5 * moved[0], rel=1e-3)
