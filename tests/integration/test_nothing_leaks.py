"""Padding, actions that cannot be taken, dead agents: perturbed, nothing changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, merge, random_batch, small_algo, value_based

from rolemarl_jax.experience.rollout import beginning
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts.phases import run_phase
from rolemarl_jax.roles import make_method
from rolemarl_jax.types import AgentState, Inputs, Observation

KEY = jax.random.key(0)
LENGTHS = np.array([6, 3, 1, 4])
CORE = ("iql", "qmix", "acorm")


def names():
    return [
        name if name in CORE else pytest.param(name, marks=pytest.mark.slow)
        for name in value_based()
    ]


def batch(T=6):
    return random_batch(SPEC, T=T, B=len(LENGTHS), lengths=LENGTHS)


def padded_with_noise(clean):
    """Other numbers wherever nothing happened."""
    noise = random_batch(SPEC, T=clean.mask.shape[0], B=len(LENGTHS), seed=7)
    steps = np.arange(clean.mask.shape[0])[:, None] < LENGTHS
    slots = np.arange(clean.obs.shape[0])[:, None] <= LENGTHS

    def mixed(name):
        real, other = getattr(clean, name), getattr(noise, name)
        there = slots if len(real) == len(slots) else steps
        there = there.reshape(there.shape + (1,) * (real.ndim - 2))
        return jnp.where(there, real, other)

    fields = ("obs", "state", "avail", "last_action", "action", "reward")
    return clean._replace(**{name: mixed(name) for name in fields})


@pytest.fixture(scope="module", params=names())
def learned(request):
    name = request.param
    # Everything is due at the first update.
    over = {"role": {"contrastive_every": 1}} if name.startswith("acorm") else {}
    learner = make_learner(small_algo(name, over), SPEC)
    return jax.jit(learner.update), jax.jit(learner.init)(KEY), learner


def test_padding(learned):
    update, state, _ = learned
    clean = batch()
    noisy = padded_with_noise(clean)
    assert (clean.obs != noisy.obs).any() and (clean.reward != noisy.reward).any()
    a, b = (update(state, x, 0, KEY) for x in (clean, noisy))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    # And the comparison can fail: real steps do matter.
    real = clean._replace(reward=clean.reward.at[0, 0].add(1.0))
    loss = "td/loss_td"
    assert abs(a[1][loss] - update(state, real, 0, KEY)[1][loss]) > 1e-4


def test_only_available_actions(learned):
    _, state, learner = learned
    g = np.random.default_rng(0)
    shape = 64, SPEC.n_agents
    avail = g.random((*shape, SPEC.n_actions)) < 0.3
    avail[..., 0] |= ~avail.any(-1)
    seen = Observation(
        jnp.asarray(g.normal(size=(*shape, SPEC.obs_dim)), jnp.float32),
        jnp.zeros((64, SPEC.state_dim)),
        jnp.asarray(avail),
    )
    agents = beginning(learner.carry(64), 64, SPEC.n_agents)
    greedy = learner.greedy(state, agents, seen)[0]
    chosen = [learner.act(state, agents, seen, e, KEY)[0] for e in (0.0, 0.5)]
    for actions in (greedy, *chosen):
        assert np.take_along_axis(avail, np.asarray(actions)[..., None], -1).all()


@pytest.mark.parametrize("name", ["iql", "qmix", "acorm"])
def test_values_of_unavailable_actions(name):
    """The last action is never available: its value may be anything."""
    learner = make_learner(small_algo(name), SPEC)
    state, clean = jax.jit(learner.init)(KEY), batch()
    avail = clean.avail.at[..., -1].set(False)
    action = jnp.where(clean.action == SPEC.n_actions - 1, 0, clean.action)
    clean = clean._replace(avail=avail, action=action)
    update = learner.update

    def raised(params):
        """Adds 1e6 to the value of the last action."""

        def bias(path, x):
            last = "Linear_1" in jax.tree_util.keystr(path) and x.ndim == 1
            return x.at[-1].add(1e6) if last else x

        return params | {
            "agent": jax.tree_util.tree_map_with_path(bias, params["agent"])
        }

    other = state._replace(params=raised(state.params), target=raised(state.target))
    a, b = (update(s, clean, 0, KEY)[1] for s in (state, other))
    np.testing.assert_array_equal(a["td/loss_td"], b["td/loss_td"])
    np.testing.assert_array_equal(a["td/grad_norm"], b["td/grad_norm"])
    # Available once, it would be chosen by the target.
    open_ = clean._replace(avail=clean.avail.at[1, 0, 0, -1].set(True))
    changed = update(other, open_, 0, KEY)[1]
    assert changed["td/loss_td"] > 1e6


def test_the_dead_stay_out_of_clusters():
    """With ``mask_dead``, what a dead agent did does not reach the InfoNCE loss."""
    role = {"mask_dead": True, "key_grad": True, "norm_by_active": True}
    algo = small_algo("acorm", {"role": role})
    method = make_method(algo["role"], SPEC)
    phase = next(p for p in method.phases if p.name == "contrastive")
    learner = make_learner(algo, SPEC)
    state, clean = jax.jit(learner.init)(KEY), batch()
    clean = clean._replace(obs=clean.obs.at[:, :, 1].set(0.0))
    other = clean._replace(
        last_action=clean.last_action.at[:, :, 1].set(
            (clean.last_action[:, :, 1] + 2) % 5
        )
    )

    @jax.jit
    def step(data):
        return run_phase(phase, state, data, jnp.ones(()), KEY)

    a, b = step(clean), step(other)
    np.testing.assert_allclose(
        a[1]["contrastive/loss_contrastive"], b[1]["contrastive/loss_contrastive"]
    )
    living = clean._replace(
        last_action=clean.last_action.at[:, :, 0].set(
            (clean.last_action[:, :, 0] + 2) % 5
        )
    )
    changed = step(living)[1]["contrastive/loss_contrastive"]
    assert changed != a[1]["contrastive/loss_contrastive"]


def test_worlds_do_not_see_each_other(learned):
    """Acting in one world reads nothing of the others, nor of other agents."""
    _, state, learner = learned
    clean = batch()
    x = Inputs(clean.obs[0], clean.last_action[0], clean.reset[0])

    def greedy(obs):
        seen = Observation(obs, clean.state[0], clean.avail[0])
        agents = AgentState(learner.carry(len(LENGTHS)), x.last_action, x.reset)
        return learner.greedy(state, agents, seen)[1]

    a, b = greedy(x.obs), greedy(x.obs.at[0, 1].add(1.0))
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        same = np.array(u == v)
        if same.ndim > 1:  # the coin of a team has no agents
            same = same.reshape(len(LENGTHS), SPEC.n_agents, -1)
            same[0, 1] = True
        assert same.all()


@pytest.mark.parametrize("name", names())
def test_gradients_only_in_declared_groups(name):
    """Each phase of a role method moves the groups that it names, and no other."""
    algo = merge(small_algo(name), {})
    method = make_method(algo["role"], SPEC)
    learner = make_learner(algo, SPEC)
    state = jax.jit(learner.init)(KEY)
    for phase in {p.name: p for p in method.phases}.values():
        step = jax.jit(lambda s, p=phase: run_phase(p, s, batch(), 1.0, KEY).state)
        new = step(state)
        declared = set(phase.lr)
        for group, tree in state.params.items():
            same = jax.tree.all(
                jax.tree.map(lambda a, b: (a == b).all(), tree, new.params[group])
            )
            assert bool(same) == (group not in declared) or group == "key"
