"""Blocks as rows of value learners: against a loop, and against replay's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes.worlds import counting
from support import run_config, small_algo

from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.memory import make_memory
from rolemarl_jax.experience.replay import Block
from rolemarl_jax.experience.rollout import make_rollout
from rolemarl_jax.experience.rows import as_rows, slots_of
from rolemarl_jax.experience.store import make_store
from rolemarl_jax.learners import make_learner
from rolemarl_jax.types import AgentState, Observation

TICKS, W, N, A = 7, 40, 2, 3


def block_of(seed, ends=0.35):
    """Random steps whose worlds tell tick, world and whether they are final."""
    g = np.random.default_rng(seed)
    ended = g.random((TICKS, W)) < ends
    cut = ended & (g.random((TICKS, W)) < 0.5)
    where = np.stack(np.meshgrid(np.arange(TICKS), np.arange(W), indexing="ij"), -1)

    def world(final):
        seen = np.concatenate([where, np.full((TICKS, W, 1), final)], -1) + 1.0
        return Observation(
            obs=np.repeat(seen[:, :, None], N, axis=2).astype(np.float32),
            state=seen.astype(np.float32),
            avail=np.ones((TICKS, W, N, A), bool),
        )

    block = Block(
        world=world(0),
        final=world(1),
        action=g.integers(0, A, (TICKS, W, N)).astype(np.int32),
        reward=g.normal(size=(TICKS, W)).astype(np.float32),
        terminated=ended & ~cut,
        truncated=cut,
    )
    reset = g.random(W) < 0.3
    last = g.integers(0, A, (W, N))
    agents = AgentState(
        carry={"agent": g.normal(size=(W, N, 4)).astype(np.float32)},
        last_action=np.where(reset[:, None], -1, last).astype(np.int32),
        reset=reset,
    )
    return jax.tree.map(jnp.asarray, (block, agents))


class Seen:
    """A store that keeps what was seen."""

    decode = staticmethod(lambda world: Observation(*world))


def by_loop(block, agents, ends):
    """One list of slots a world: (state, reset, last action, transition or None)."""
    block, agents = jax.tree.map(np.asarray, (block, agents))
    rows = []
    for w in range(W):
        reset, last, row = bool(agents.reset[w]), agents.last_action[w], []
        for t in range(TICKS):
            over = block.terminated[t, w] or block.truncated[t, w]
            step = (t, w)
            row.append((block.world.state[step], reset, last, step))
            if over or t == TICKS - 1:
                seen = block.final.state[step]
                row.append((seen, False, block.action[step], None))
            reset, last = over, (-np.ones(N, int) if over else block.action[step])
        rows.append(row[: slots_of(TICKS, ends)])
    return rows


@pytest.mark.parametrize("ends", [0, 2, TICKS])
def test_rows_are_those_of_a_loop(ends):
    block, agents = block_of(ends)
    rows = jax.tree.map(np.asarray, as_rows(block, agents, Seen, ends))
    assert rows.reward.shape == (TICKS + ends, W)
    for w, row in enumerate(by_loop(block, agents, ends)):
        for s in range(slots_of(TICKS, ends)):
            if s >= len(row):
                assert not rows.obs[s, w].any() and not rows.avail[s, w].any()
                assert s == TICKS + ends or not rows.mask[s, w]
                continue
            seen, reset, last, step = row[s]
            np.testing.assert_array_equal(rows.state[s, w], seen)
            np.testing.assert_array_equal(rows.obs[s, w, 0], seen)
            assert rows.reset[s, w] == reset
            np.testing.assert_array_equal(rows.last_action[s, w], last)
            if s == TICKS + ends:
                continue
            assert rows.mask[s, w] == (step is not None)
            for name in ("action", "reward", "terminated", "truncated"):
                expected = 0 if step is None else np.asarray(getattr(block, name))[step]
                np.testing.assert_array_equal(getattr(rows, name)[s, w], expected)
    np.testing.assert_array_equal(rows.carry["agent"], agents.carry["agent"])


def test_every_step_is_learnt_from_where_there_is_room():
    block, agents = block_of(1, ends=0.6)
    count = as_rows(block, agents, Seen, TICKS).mask.sum(0)
    np.testing.assert_array_equal(count, TICKS)
    ended = np.asarray(block.terminated | block.truncated)[:-1].sum(0)
    tight = np.asarray(as_rows(block, agents, Seen, 1).mask.sum(0))
    np.testing.assert_array_equal(tight[ended <= 1], TICKS)
    assert (tight[ended > 1] < TICKS).all() and (ended > 1).any()


def collected(name="pqn_qmix", blocks=3, over=None):
    """The last of some blocks, as its learner reads it, and what acted in it."""
    algo = small_algo(name, over)
    env = counting(6)
    learner, cfg = make_learner(algo, env.spec), run_config(algo)
    memory = make_memory(cfg, learner, make_store("packed", env), 8)
    rollout = make_rollout(env, learner, memory.store, 8, 8)
    state, kept = learner.init(jax.random.key(0)), memory.init()
    worlds, before = rollout.init(jax.random.key(1)), None
    collect = jax.jit(rollout.collect)
    for i in range(blocks):
        before = worlds
        worlds, block, _ = collect(state, worlds, 8 * i, jax.random.key(2))
        kept = memory.add(kept, before, block)
    seen = before.agents, worlds.agents
    return learner, state, seen, memory.sample(kept, jax.random.key(3))


def test_recurrent_state_goes_on():
    """Unrolled over the rows, agents end in the state that acting left them in."""
    learner, state, (before, after), rows = collected()
    assert np.abs(before.carry["agent"]).max() > 0, "the block began in mid-episode"
    np.testing.assert_array_equal(rows.carry["agent"], before.carry["agent"])
    carry, seen, greedy = rows.carry, [], jax.jit(learner.greedy)
    for s in range(len(rows.reset)):
        agents = AgentState(carry, rows.last_action[s], rows.reset[s])
        observation = Observation(rows.obs[s], rows.state[s], rows.avail[s])
        _, carry, _ = greedy(state, agents, observation)
        seen.append(carry["agent"])
    last = len(rows.mask) - 1 - np.asarray(rows.mask)[::-1].argmax(0)
    end = np.stack(seen)[last, np.arange(len(last))]
    np.testing.assert_allclose(end, after.carry["agent"], rtol=1e-5, atol=1e-6)


def test_updates_read_that_state():
    learner, state, _, rows = collected()
    at, key = jnp.asarray(0), jax.random.key(0)
    with_it, without = (
        learner.update(state, batch, at, key).metrics["td/loss_td"]
        for batch in (rows, rows._replace(carry=()))
    )
    assert with_it != without


def test_worlds_that_minibatches_do_not_divide():
    with pytest.raises(ConfigError, match=r"algo\.minibatch: got 5; allowed: divisors"):
        collected(over={"minibatch": 5})


def test_replay_is_refused():
    algo = small_algo("pqn_qmix")
    env = counting(6)
    cfg = run_config(algo, over={"replay": {"sampling": "episodes"}})
    with pytest.raises(ConfigError, match=r"replay\.sampling: got 'episodes', but"):
        make_memory(cfg, make_learner(algo, env.spec), make_store("packed", env), 8)
