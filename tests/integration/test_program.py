"""Contracts of the compiled experiment: time, seeds, branches, compilation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import Cursor, make_program

ENV = worlds.probe(worlds.KINDS.index("match"))
SMALL = {
    "replay": {"episodes": 64, "batch": 8},
    "eval": {"episodes": 4, "worlds": 4},
}


def program_of(name, seeds, by="map", env=ENV, over=None):
    algo = small_algo(name, over)
    cfg = run_config(algo, seeds, {"train": {"seeds_by": by}, **SMALL})
    return make_program(cfg, env, make_learner(algo, env.spec), jax.devices()[:1])


def cursor(tick, update, stage):
    return Cursor(*(jnp.asarray(x, jnp.int32) for x in (tick, update, stage)))


def advance(program, state, iterations, start=0, tick=None):
    """Iterations of training, the first one being number ``start``."""
    warm = program.stages[0].iterations * program.ticks
    tick = warm + start * program.ticks if tick is None else tick
    at = cursor(tick, start * program.updates, len(program.stages) - 1)
    return program.segment(state, at, jnp.asarray(iterations))


def warm(program, ids):
    state = program.init(jnp.asarray(ids))
    count = jnp.asarray(program.stages[0].iterations)
    return program.segment(state, cursor(0, 0, 0), count)[0]


def plain(tree):
    """Arrays of a state; keys as numbers."""
    return [
        np.asarray(
            jax.random.key_data(x)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else x
        )
        for x in jax.tree.leaves(tree)
    ]


def equal(a, b):
    for x, y in zip(plain(a), plain(b), strict=True):
        np.testing.assert_array_equal(x, y)


def close(a, b, rtol=1e-4, atol=1e-5):
    for x, y in zip(plain(a), plain(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def counted():
    """QMIX over two seeds, in a world that counts how often it is traced."""
    traced = []

    def step(key, state, actions):
        traced.append(1)
        return ENV.step(key, state, actions)

    program = program_of("qmix", 2, env=replace(ENV, step=step))
    return program, warm(program, [0, 1]), traced


def copy(state):
    return jax.tree.map(jnp.copy, state)


def test_two_segments_are_one(counted):
    program, state, _ = counted
    whole, all_metrics = advance(program, copy(state), 7)
    first, some = advance(program, copy(state), 4)
    second, more = advance(program, first, 3, start=4)
    equal(whole, second)
    close(all_metrics, jax.tree.map(jnp.add, some, more), rtol=1e-5)
    assert not np.array_equal(*plain(whole.learner.params)[0]), "seeds differ"


def test_no_iteration_changes_nothing(counted):
    program, state, _ = counted
    equal(advance(program, copy(state), 0)[0], state)


def test_segment_is_traced_once(counted):
    program, state, traced = counted
    before = len(traced)
    for start in (0, 2, 5):
        state = advance(program, copy(state), 1 + start, start)[0]
    assert len(traced) == before


def test_every_seed_is_the_experiment_alone():
    """Seed 5 is the same beside others, mapped or batched, whatever its place."""
    lone = program_of("qmix", 1)
    alone, reported = advance(lone, warm(lone, [5]), 4)
    for by, place in (("map", 2), ("vmap", 1)):
        program = program_of("qmix", 3, by)
        ids = np.insert([1, 2], place, 5)
        many, tally = advance(program, warm(program, ids), 4)
        row = jax.tree.map(lambda x, i=place: x[i : i + 1], (many, tally))
        close(row[0].learner.params, alone.learner.params)
        equal(row[0].key, alone.key)
        equal(row[0].worlds, alone.worlds) if by == "map" else None
        close(row[1].sums["td/loss_td"], reported.sums["td/loss_td"])


def branches(jaxpr, found=None):
    """Numbers of branches of all conds that are left, at any depth.

    Not of those that choose by platform: of these a program has one branch.
    """
    found = [] if found is None else found
    for eqn in jaxpr.eqns:
        by_platform = eqn.params.get("branches_platforms") is not None
        if eqn.primitive.name == "cond" and not by_platform:
            found.append(len(eqn.params["branches"]))
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                branches(inner, found)
    return found


def test_schedules_stay_branches_when_batched():
    """Stage, due contrastive step and hard target copy: conds, not selects."""
    hard = {"mode": "hard", "tau": 0.0, "every": 3}
    over = {"target": hard, "role": {"contrastive_every": 2}}
    program = program_of("acorm", 3, "vmap", over=over)
    state = jax.eval_shape(program.init, jnp.arange(3))
    at = jax.eval_shape(lambda: cursor(0, 0, 0))
    trace = jax.make_jaxpr(program.segment)(state, at, jnp.asarray(2))
    left = branches(trace.jaxpr)
    assert left.count(len(program.stages)) == 1
    assert left.count(2) == 2
    assert len(program.stages) == 4


def test_the_inspection_finds_lost_branches():
    """Batched over seeds, a counter turns its cond into a select."""

    def f(t, x):
        return jax.lax.cond(t > 2, jnp.sin, jnp.cos, x)

    xs = jnp.ones(3)
    kept = jax.make_jaxpr(jax.vmap(f, in_axes=(None, 0)))(1, xs)
    lost = jax.make_jaxpr(jax.vmap(f))(jnp.arange(3), xs)
    assert branches(kept.jaxpr) == [2] and branches(lost.jaxpr) == []


@pytest.mark.slow
def test_metrics_count_only_what_ran():
    """The contrastive step is reported for the updates at which it was due."""
    over = {"role": {"contrastive_every": 3, "clusters": 2}}
    program = program_of("acorm", 1, over=over)
    _, tally = advance(program, warm(program, [0]), 7)
    assert tally.counts["td/loss_td"] == 7
    assert tally.counts["contrastive/loss_contrastive"] == 2
    assert np.isfinite(plain(tally.sums)).all()
