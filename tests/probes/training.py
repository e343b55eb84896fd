"""Training on all probes at once, in one compiled program, and playing untrained."""

import json
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from probes import worlds
from support import merge, run_config, small_algo

from experiments.door import compose, resume
from rolemarl_jax.experience.rollout import beginning
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import Cursor, make_program
from rolemarl_jax.types import AgentState

# Fast learning and uniform exploration: probes test what is learned, not how soon.
# One-step targets, for Peng's Q(lambda) would learn the value of the exploration.
FAST = {
    "td_lambda": 0.0,
    "lr": 5e-3,
    "actor_lr": 5e-3,
    "critic_lr": 5e-3,
    "tau": 0.05,
    "reward_scale": 1.0,
    "optimiser": {"decay": 1.0},
    "target": {"mode": "soft", "tau": 0.05},
    "epsilon": {"start": 1.0, "finish": 1.0},
    # Episodes of a single step.
    "ends": 8,
}
ITERATIONS = {"qmix": 300, "pqn": 300, "maac": 600, "mappo": 60}
PARTS = 2
# Env steps of a default run on 3m, in whole blocks of those that learn from blocks.
SHIPPED = 100_352


def calls(program, iterations):
    """Cursors and lengths of the segments of a run, stacked; train comes in parts."""
    rows, tick = [], 0
    for index, stage in enumerate(program.stages):
        left = stage.iterations
        lengths = [left] if left is not None else [iterations // PARTS] * PARTS
        update = 0
        for length in lengths:
            rows.append((tick, update, index, length))
            tick += length * program.ticks
            update += length * program.updates * stage.updates
    return jnp.asarray(rows, jnp.int32)


def fast(algo):
    """Changes that make a configuration learn fast; only of keys that it has."""
    role = {key: 5e-3 for key in algo.get("role", {}) if key.endswith("_lr")}
    # An intrinsic reward without bounds moves the optimum.
    return common(FAST | {"role": role | {"alpha": 1e-3}}, algo)


def common(changes, values):
    """The part of ``changes`` whose keys ``values`` has."""
    return {
        key: common(new, values[key]) if isinstance(new, dict) else new
        for key, new in changes.items()
        if key in values
    }


@cache
def train(name, over="{}", kinds=worlds.KINDS):
    """Trains one algorithm on probes, fast.

    Args:
        over: changes to the configuration, as JSON.
        kinds: of probes, all by default.

    Returns:
        Greedy returns ``{kind: [episode]}``, and metrics of the last part,
        ``{kind: {name: mean}}``.
    """
    algo = small_algo(name)
    algo = merge(merge(algo, fast(algo)), json.loads(over))
    iterations = ITERATIONS[algo["learner"]]
    learner = make_learner(algo, worlds.SPEC)
    discounts = jnp.asarray([worlds.DISCOUNTS[kind] for kind in kinds])
    run = partial(_run, learner, run_config(algo), iterations)
    each = jax.jit(jax.vmap(run))(_indices(kinds), discounts)
    returns, tallies = jax.tree.map(np.asarray, each)
    means = {
        name: x[:, -1, 0] / np.maximum(tallies.counts[name][:, -1, 0], 1)
        for name, x in tallies.sums.items()
    }
    return dict(zip(kinds, returns, strict=True)), {
        kind: {name: x[i] for name, x in means.items()} for i, kind in enumerate(kinds)
    }


def train_as_shipped(name, kinds):
    """Trains one algorithm as a default run on 3m would, on probes instead.

    One probe after another, for what is due now and then would be due always if they
    were batched.

    Returns:
        Greedy returns ``{kind: [episode]}``.
    """
    cfg = shipped(name)
    learner = make_learner(cfg.algo, worlds.SPEC)
    stages = make_program(cfg, worlds.probe(0), learner).stages
    before = sum(stage.iterations or 0 for stage in stages)
    after = SHIPPED // cfg.train.steps_per_update - before
    run = partial(_run, learner, cfg, after)

    def returns(kind):
        return run(kind, jnp.asarray(cfg.algo["gamma"]))[0]

    found = jax.jit(lambda: jax.lax.map(returns, _indices(kinds)))()
    return dict(zip(kinds, np.asarray(found), strict=True))


def shipped(name):
    """The configuration of ``experiments.run algo=<name> env=smax``, on 3m.

    What follows from the length of a world's episodes is of the probes: how many end
    in a block, and how many steps replay reserves for each. Else replay would never
    forget, and traces would value the exploration that it holds: QMIX then prefers the
    safe game of ``coordination``.
    """
    words = [f"algo={name}", "env=smax", "env.map=3m", "seeds=1"]
    words += [f"total_steps={SHIPPED}", f"replay.mean_length={max(worlds.LENGTHS)}"]
    cfg = resume.resolve(compose.composed(words))
    ends = {"ends": 16} if "ends" in cfg.algo else {}
    return replace(cfg, algo=cfg.algo | ends)


def _run(learner, cfg, iterations, kind, gamma):
    """Greedy returns `[episode]` after training on one probe, and tallies of parts."""
    program = make_program(cfg, worlds.probe(kind), learner)
    state = program.init(jnp.zeros(1, jnp.int32))
    hypers = {**state.learner.hypers, "gamma": gamma[None]}
    state = state._replace(learner=state.learner._replace(hypers=hypers))

    def part(state, call):
        return program.segment(state, Cursor(*call[:3]), call[3])

    state, tallies = jax.lax.scan(part, state, calls(program, iterations))
    return program.evaluate(state).ret[0], tallies


def _indices(kinds):
    return jnp.asarray([worlds.KINDS.index(kind) for kind in kinds])


def untrained(name, over, kind, epsilon=0.0, seeds=4, episodes=64):
    """Returns `[seed, episode]` of policies as they are initialised, widely spread."""
    learner = make_learner(merge(small_algo(name), over), worlds.SPEC)
    env = worlds.probe(worlds.KINDS.index(kind))
    carry, n_agents = learner.carry(episodes), worlds.SPEC.n_agents

    def step(state, game, key):
        world, agents, ret = game
        act, play = jax.random.split(key)
        seen = jax.vmap(env.observe)(world)
        actions, carry = learner.act(state, agents, seen, epsilon, act)
        world, now = jax.vmap(env.step)(
            jax.random.split(play, episodes), world, actions
        )
        agents = AgentState(carry, actions, jnp.zeros(episodes, bool))
        return (world, agents, ret + now.reward), None

    def run(key):
        state = learner.init(key)
        wide = jax.tree.map(lambda x: 3 * x, state.params)
        keys = jax.random.split(key, worlds.LENGTHS[worlds.KINDS.index(kind)])
        world = jax.vmap(env.reset)(jax.random.split(key, episodes))
        begun = beginning(carry, episodes, n_agents)
        step_ = partial(step, state._replace(params=wide))
        return jax.lax.scan(step_, (world, begun, jnp.zeros(episodes)), keys)[0][2]

    return np.asarray(
        jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), seeds))
    )
