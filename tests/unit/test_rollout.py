"""Collection and evaluation with an agent whose behaviour is known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes.worlds import counting

from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.experience.evaluate import make_evaluate
from rolemarl_jax.experience.rollout import make_rollout
from rolemarl_jax.experience.store import make_store
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.learners.parts.phases import nothing_done
from rolemarl_jax.run_config import EvalConfig

LIMIT, WORLDS, N = 5, 4, 2
ENV = counting(LIMIT, N, 3)
STORE = make_store("observations", ENV)


def counter(spec=ENV.spec):
    """A learner whose memory counts the steps since its last reset, for each agent.

    It takes action ``count % 3``, or 2 from 100 env steps on.
    """

    def act(state, agents, observation, epsilon=0.0, key=None):
        count = jnp.where(agents.reset[:, None], 0, agents.carry["count"] + 1)
        first = (agents.last_action == -1).all(-1)
        wrong = jnp.where((first == agents.reset)[:, None], 0, 1000)
        actions = jnp.where(epsilon > 0, 2, count % 3)
        return actions.astype(jnp.int32), {"count": count + wrong}

    def greedy(state, agents, observation):
        return *act(state, agents, observation), {}

    return Learner(
        spec=spec,
        init=lambda key: None,
        carry=lambda rows: {"count": jnp.full((rows, N), 77)},
        act=act,
        greedy=greedy,
        scores=lambda *_: jnp.zeros((WORLDS, N, 3)),
        epsilon=lambda steps: (steps >= 100).astype(jnp.float32),
        update=lambda state, *_: nothing_done(state),
        pretraining=(),
    )


@pytest.fixture(scope="module")
def collected():
    rollout = make_rollout(ENV, counter(), STORE, WORLDS, 40)
    start = rollout.init(jax.random.key(0))
    worlds, block, episodes = jax.jit(rollout.collect)(
        None, start, 0, jax.random.key(1)
    )
    return jax.tree.map(np.asarray, (start, worlds, block, episodes))


def test_terminal_observation_is_kept(collected):
    _, _, block, _ = collected
    ended = block.terminated | block.truncated
    assert ended.sum() > 10 and block.truncated.any() and block.terminated.any()
    assert not (block.terminated & block.truncated).any()
    name, at = (block.world.state[..., i] for i in (0, 1))
    np.testing.assert_array_equal(block.final.state[..., 0], name)
    np.testing.assert_array_equal(block.final.state[..., 1], at + 1)
    # After an end comes the first observation of another episode, else the final one.
    np.testing.assert_array_equal((name[1:] != name[:-1]), ended[:-1])
    np.testing.assert_array_equal(at[1:], np.where(ended, 0, at + 1)[:-1])
    np.testing.assert_array_equal(block.truncated, ended & (at + 1 == LIMIT))


def test_agents_forget_with_the_episode(collected):
    """Memory starts anew for every agent, and so does the last action."""
    _, worlds, block, _ = collected
    at = block.world.state[..., 1].astype(int)
    early = np.arange(40)[:, None, None] * WORLDS < 100
    expected = np.where(early, at[..., None] % 3, 2)
    np.testing.assert_array_equal(block.action, np.broadcast_to(expected, (40, 4, N)))
    agents = worlds.agents
    last = block.action[-1] * ~agents.reset[:, None] - agents.reset[:, None]
    np.testing.assert_array_equal(agents.last_action, last)


def test_sums_over_episodes(collected):
    start, worlds, block, episodes = collected
    ended = block.terminated | block.truncated
    ret, length = np.zeros(WORLDS), np.zeros(WORLDS)
    done = []
    for t in range(40):
        ret, length = ret + block.reward[t], length + 1
        for w in np.flatnonzero(ended[t]):
            won = block.world.state[t, w, 0] % 2 == 0
            done.append((ret[w], length[w], won))
            ret[w], length[w] = 0, 0
    sums = np.array(done).sum(0)
    assert episodes.count == len(done)
    np.testing.assert_allclose(episodes.ret, sums[0], rtol=1e-5)
    assert (episodes.length, episodes.won) == (sums[1], sums[2])
    np.testing.assert_allclose(worlds.ret, ret, rtol=1e-5)
    np.testing.assert_array_equal(worlds.length, length)
    assert start.agents.reset.all() and (start.agents.last_action == -1).all()


def test_two_calls_are_one(collected):
    rollout = make_rollout(ENV, counter(), STORE, WORLDS, 20)
    worlds, collect = rollout.init(jax.random.key(0)), jax.jit(rollout.collect)
    blocks = []
    for first in (0, 20):
        worlds, block, _ = collect(None, worlds, first, jax.random.key(1))
        blocks.append(block)
    both = jax.tree.map(lambda *x: np.concatenate(x), *blocks)
    jax.tree.map(np.testing.assert_array_equal, both, collected[2])
    jax.tree.map(np.testing.assert_array_equal, worlds, collected[1])


def test_worlds_made_ahead_are_the_same(collected):
    """The form for batched seeds, to the bit."""
    rollout = make_rollout(ENV, counter(), STORE, WORLDS, 40, ahead=True)
    start = rollout.init(jax.random.key(0))
    found = jax.jit(rollout.collect)(None, start, 0, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, (start, *found), collected)


def evaluate(episodes, worlds, env=ENV):
    sizes = {"episodes": episodes, "worlds": worlds, "role_episodes": 0}
    cfg = build(EvalConfig, {"every": 1, **sizes}, "eval")
    return jax.tree.map(np.asarray, jax.jit(make_evaluate(cfg, env, counter()))(None))


def test_each_world_plays_its_first_episode_only():
    played = evaluate(12, 4)
    assert played.ret.shape == (12,)
    assert (played.length >= 1).all() and (played.length <= LIMIT).all()
    assert len(set(played.length)) > 2
    # The return tells the episode: length * name / 2^16 + 0 + 1 + ... + length - 1. All
    # are multiples of 2^-16 below 128, which float32 adds up exactly.
    n = played.length.astype(int)
    name = (played.ret.astype(float) - n * (n - 1) / 2) / n * 2**16
    np.testing.assert_array_equal(name, np.round(name))
    assert (name >= 0).all() and (name < 2**20).all() and len(set(name)) == 12
    np.testing.assert_array_equal(name % 2 == 0, played.won > 0)


def test_same_episodes_every_time():
    jax.tree.map(np.testing.assert_array_equal, evaluate(8, 4), evaluate(8, 4))


def test_what_comes_after_the_end_does_not_count():
    """A world that goes on, and breaks, behind its terminal state."""

    def step(key, state, actions):
        after, now = ENV.step(key, state, actions)
        beyond = state.t >= state.length
        reward = jnp.where(beyond, jnp.nan, now.reward)
        return after, now._replace(reward=reward, won=now.won | beyond)

    broken = replace(ENV, step=step)
    jax.tree.map(np.testing.assert_array_equal, evaluate(8, 8, broken), evaluate(8, 8))


def test_worlds_divide_episodes():
    with pytest.raises(ConfigError, match=r"eval\.worlds: got 3"):
        evaluate(8, 3)
