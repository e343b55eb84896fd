"""The on-policy block: resets, last actions, carry, final observations."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_worlds import algo, clock, run_config, same_bits

from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.memory import make_memory
from rolemarl_jax.experience.rollout import make_rollout
from rolemarl_jax.experience.store import make_store
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import Cursor, make_program
from rolemarl_jax.types import AgentState

TICKS, WORLDS = 11, 3


def small(name="mappo", **changes):
    return algo(
        name, **{"role__hidden": 8, "minibatch": WORLDS, "epochs": 2, **changes}
    )


@pytest.fixture(scope="module")
def played():
    """Three blocks of a random policy: what was seen before, and the block read."""
    env, values = clock(), small()
    learner = make_learner(values, env.spec)
    cfg = run_config(values, WORLDS, WORLDS * TICKS)
    store = make_store(cfg.replay.store, env)
    memory = make_memory(cfg, learner, store, TICKS)
    rollout = make_rollout(env, learner, memory.store, WORLDS, TICKS)
    state = jax.jit(learner.init)(jax.random.key(0))
    worlds = jax.jit(rollout.init)(jax.random.key(1))
    contents, blocks = memory.init(), []
    collect = jax.jit(rollout.collect)
    for i in range(3):
        before = worlds
        first = jnp.int32(i * TICKS)
        worlds, block, _ = collect(state, before, first, jax.random.key(2))
        contents = memory.add(contents, before, block)
        sample = jax.jit(memory.sample)
        fresh = sample(contents, jax.random.key(0))
        blocks.append(jax.tree.map(np.array, (before, block, fresh)))
    return learner, state, blocks


def test_slots_follow_the_worlds(played):
    _, _, blocks = played
    seen_resets = 0
    for before, block, fresh in blocks:
        for b in range(WORLDS):
            agents = before.agents
            reset, last = bool(agents.reset[b]), np.array(agents.last_action[b])
            for t in range(TICKS):
                assert bool(fresh.reset[t, b]) == reset
                want = np.full(2, -1) if reset else last
                np.testing.assert_array_equal(fresh.last_action[t, b], want)
                assert (fresh.state[t, b, 0] == 0) == reset
                np.testing.assert_array_equal(fresh.obs[t, b, 0, :2], fresh.state[t, b])
                last = np.array(block.action[t, b])
                reset = bool(block.terminated[t, b] | block.truncated[t, b])
                seen_resets += reset
    assert seen_resets > 5


def test_final_observations(played):
    _, _, blocks = played
    truncations = 0
    for _, block, fresh in blocks:
        for b in range(WORLDS):
            cut = [t for t in range(TICKS) if fresh.truncated[t, b]]
            truncations += len(cut)
            at = fresh.final_at[:, b].tolist()
            assert at[:-1] == cut + [TICKS] * (len(at) - 1 - len(cut))
            assert at[-1] == TICKS - 1
            for k, t in enumerate(at):
                if t < TICKS:
                    # The step's own outcome, one tick after the state acted in.
                    after = np.array(fresh.state[t, b])
                    after += [1, int(block.action[t, b, 0])]
                    np.testing.assert_array_equal(fresh.final.state[k, b], after)
    assert truncations > 2


def test_carry_is_the_one_that_acted(played):
    learner, state, blocks = played
    assert not np.all(np.array(blocks[1][2].carry["actor"]) == 0)
    act = jax.jit(learner.act)
    for (_, _, fresh), (_, _, later) in pairwise(blocks):
        carry = fresh.carry
        for t in range(TICKS):
            seen = learner_observation(fresh, t)
            agents = AgentState(carry, fresh.last_action[t], fresh.reset[t])
            _, carry = act(state, agents, seen, jnp.zeros(()), jax.random.key(9))
        for name, h in carry.items():
            np.testing.assert_allclose(h, later.carry[name], rtol=1e-5, atol=1e-6)


def learner_observation(fresh, t):
    return type(fresh.final)(fresh.obs[t], fresh.state[t], fresh.avail[t])


@pytest.mark.parametrize(
    "name", ["mappo", pytest.param("maac", marks=pytest.mark.slow)]
)
def test_segments_add_up(name):
    env = clock()
    if name == "mappo":
        cfg = run_config(small(), WORLDS, WORLDS * 5)
    else:
        values = algo("maac", policy_widths=[8], critic_width=8, heads=2, batch=16)
        sizes = {"episodes": 30, "mean_length": 5, "batch": 4}
        cfg = run_config(values, WORLDS, WORLDS * 2, sampling="episodes", **sizes)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec))

    def run(parts):
        state, at, tick, stages = program.init(jnp.arange(1)), 0, 0, program.stages
        for stage, n in ((0, stages[0].iterations), *((1, n) for n in parts)):
            cursor = Cursor(*map(jnp.int32, (tick, at, stage)))
            state, _ = program.segment(state, cursor, jnp.int32(n))
            tick, at = tick + n * program.ticks, at + n * stage
        return state

    whole, split = run((4,)), run((1, 3))
    assert same_bits(whole, split)
    assert not same_bits(whole.learner.params, run((3,)).learner.params)


@pytest.mark.parametrize(
    ("name", "sampling", "steps", "key"),
    [
        ("mappo", "episodes", WORLDS, "replay.sampling"),
        ("qmix", "fresh", WORLDS, "replay.sampling"),
        ("mappo", "fresh", 1, "train.steps_per_update"),
    ],
)
def test_memory_that_does_not_fit_the_learner(name, sampling, steps, key):
    env, values = clock(), algo(name)
    cfg = run_config(values, WORLDS, steps, sampling=sampling)
    with pytest.raises(ConfigError, match=key):
        make_program(cfg, env, make_learner(values, env.spec))


def test_a_block_has_to_fit_a_lane_of_replay():
    """A step that ends an episode takes two slots."""
    env, values = clock(), algo("qmix")
    learner = make_learner(values, env.spec)
    sizes = {"episodes": 30, "mean_length": 5, "batch": 4}  # 50 slots a lane
    for ticks, fits in ((25, True), (26, False)):
        steps = WORLDS * ticks
        cfg = run_config(values, WORLDS, steps, sampling="episodes", **sizes)
        store = make_store(cfg.replay.store, env)
        if fits:
            make_memory(cfg, learner, store, ticks)
            continue
        words = r"steps_per_update: got 78.*replay\.episodes=30.*mean_length=5.*most 75"
        with pytest.raises(ConfigError, match=words):
            make_memory(cfg, learner, store, ticks)


def test_minibatch_must_divide_the_worlds():
    env, values = clock(), small(minibatch=2)
    with pytest.raises(ConfigError, match=r"algo\.minibatch: got 2"):
        make_program(
            run_config(values, WORLDS, WORLDS), env, make_learner(values, env.spec)
        )
