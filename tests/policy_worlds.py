"""Tiny worlds with known answers, and configurations of policy learners for them."""

from functools import reduce
from operator import getitem

import jax
import jax.numpy as jnp
import support
from support import load_algo

from rolemarl_jax.learners import mappo
from rolemarl_jax.learners.parts.ppo_block import forward
from rolemarl_jax.learners.parts.ppo_epochs import Part
from rolemarl_jax.types import Env, EnvSpec, Observation, Step

SIZES = ("episodes", "mean_length", "batch", "rows", "row_length")


def algo(name, **changes):
    """A file of configs/algo as a mapping, with dotted keys changed (`a__b=1`)."""
    values = load_algo(name)
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = reduce(getitem, parents, values)
        assert last in node, key
        node[last] = value
    return values


def run_config(values, worlds, steps_per_update, **replay):
    """One seed of a learner of fresh experience: so many worlds, steps a block."""
    fresh = {"sampling": "fresh", **dict.fromkeys(SIZES, 1), **replay}
    train = {"worlds": worlds, "steps_per_update": steps_per_update}
    over = {"train": train | {"host_devices": None}, "replay": fresh}
    return support.run_config(values, 1, over)


def clock(limit=4, n_agents=2):
    """Counts steps and sums agent 0's actions; action 2 of agent 0 terminates."""
    spec = EnvSpec("clock", n_agents, 3, 3, 2, limit)

    def observe(s):
        rows = jnp.broadcast_to(s, (n_agents, 2)).astype(jnp.float32)
        ids = jnp.arange(n_agents, dtype=jnp.float32)[:, None]
        avail = jnp.ones((n_agents, 3), bool)
        return Observation(
            jnp.concatenate([rows, ids], 1), s.astype(jnp.float32), avail
        )

    def step(_, s, a):
        s = s + jnp.array([1, 0], jnp.int32) + jnp.array([0, 1], jnp.int32) * a[0]
        over = a[0] == 2
        reward = a[1].astype(jnp.float32)
        return s, Step(reward, over, ~over & (s[0] >= limit), over)

    def same(s):
        return s

    reset = lambda _: jnp.zeros(2, jnp.int32)  # noqa: E731
    return Env(spec, reset, step, observe, same, same)


def own_action(length=1, n_agents=2):
    """Reward 1 a step if agent i plays action i: equal agents earn at most 0.

    Observations hold the agent's index, so that a shared policy can tell.
    """
    spec = EnvSpec("own_action", n_agents, n_agents + 1, n_agents, 1, length)

    def observe(t):
        avail = jnp.ones((n_agents, n_agents + 1), bool).at[:, -1].set(False)
        return Observation(jnp.eye(n_agents), t[None].astype(jnp.float32), avail)

    def step(_, t, a):
        right = (a == jnp.arange(n_agents)).all()
        over = t + 1 >= length
        reward = right.astype(jnp.float32)
        return t + 1, Step(reward, over, jnp.zeros((), bool), right & over)

    def same(t):
        return t

    reset = lambda _: jnp.zeros((), jnp.int32)  # noqa: E731
    return Env(spec, reset, step, observe, same, same)


def trained(program, iterations):
    """State after every stage, with so many iterations of training."""
    from rolemarl_jax.program.program import Cursor

    state, tick = program.init(jnp.arange(1)), 0
    for i, stage in enumerate(program.stages):
        n = iterations if stage.iterations is None else stage.iterations
        cursor = Cursor(*map(jnp.int32, (tick, 0, i)))
        state, _ = program.segment(state, cursor, jnp.int32(n))
        tick += n * program.ticks
    return state


def same_bits(a, b):
    def plain(x):
        typed = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if typed else x

    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(bool((plain(x) == plain(y)).all()) for x, y in pairs)


def losses_of(cfg, method, params, seq, old):
    """PPO's losses on sequences, a `LossOut`."""
    outlook, _ = forward(method, params, seq)
    return mappo.ppo_losses(cfg, jnp.float32(cfg.clip), outlook, Part(seq, old))
