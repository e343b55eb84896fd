"""Worlds played by chance, and what is seen of them on the way."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.rng import named
from rolemarl_jax.trees import choose
from rolemarl_jax.types import Array, Bodies, Env, EnvSpec, EnvState, Key, Observation


class Looked(NamedTuple):
    """Whether a world in one of its states is as it has to be, bool."""

    finite: Array  # observation and state
    offered: Array  # every agent has an action
    lossless: Array  # the packed world looks the same
    flagged: Array  # features that are said to be flags are 0 or 1
    typed: Array  # agents see their own type as their bodies have it


class Seen(NamedTuple):
    """What was seen at each step, `[T, W]`; counted only while ``valid``.

    The first half of the worlds is reset when an episode ends. The rest goes on, to
    see what a world does of itself: those steps are not valid.
    """

    valid: Array  # bool
    step: Array  # int32 steps of the episode, this one counted
    reward: Array
    ret: Array  # return of the episode, this step counted
    terminated: Array
    truncated: Array
    won: Array
    inert: Array  # another choice of dead agents changes nothing
    dead: Array  # agents that were dead
    before: Looked  # the world before the step
    after: Looked  # and after it, which no step begins with if it is terminal


class _Now(NamedTuple):
    """Worlds in mid-episode."""

    world: EnvState
    step: Array
    ret: Array
    ended: Array  # [W] bool, some time before, and not reset since


def play(env: Env, key: Key, worlds: int, ticks: int) -> Seen:
    """Plays by chance for so many steps; compiled as one scan over mapped worlds."""
    resets = jnp.arange(worlds) < (worlds + 1) // 2

    def tick(now: _Now, at: Array) -> tuple[_Now, Seen]:
        own = named(key, "tick", at)
        keys = jax.random.split(named(own, "step"), worlds)
        after, seen = jax.vmap(lambda *one: _step(env, *one))(keys, now.world)
        over = seen.terminated | seen.truncated
        step, ret = now.step + 1, now.ret + seen.reward
        fresh = jax.vmap(env.reset)(jax.random.split(named(own, "reset"), worlds))
        again = over & resets
        seen = seen._replace(valid=~now.ended, step=step, ret=ret)
        then = _Now(
            world=choose(again, fresh, after),
            step=jnp.where(again, 0, step),
            ret=jnp.where(again, 0.0, ret),
            ended=now.ended | (over & ~resets),
        )
        return then, seen

    first = jax.vmap(env.reset)(jax.random.split(named(key, "first"), worlds))
    zeros = jnp.zeros(worlds)
    now = _Now(first, zeros.astype(jnp.int32), zeros, zeros.astype(bool))
    return jax.lax.scan(tick, now, jnp.arange(ticks))[1]


def _step(env: Env, key: Key, world: EnvState) -> tuple[EnvState, Seen]:
    """One world's step by chance, all but ``valid``, ``step`` and ``ret`` filled in."""
    before = env.observe(world)
    draw, other = named(key, "action"), named(key, "other")
    actions = _drawn(draw, before.avail)
    bodies = None if env.bodies is None else env.bodies(world)
    alive = jnp.ones(env.spec.n_agents, bool) if bodies is None else bodies.alive
    # What the dead choose must be of no concern.
    changed = jnp.where(alive, actions, _drawn(other, before.avail))
    pair = jnp.stack([actions, changed])
    both, steps = jax.vmap(lambda chosen: env.step(key, world, chosen))(pair)
    looks = jax.vmap(env.observe)(both)
    after, step, look = jax.tree.map(lambda x: x[0], (both, steps, looks))
    later = None if env.bodies is None else env.bodies(after)
    zero = jnp.zeros((), jnp.int32)
    return after, Seen(
        valid=jnp.ones((), bool),
        step=zero,
        reward=step.reward,
        ret=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
        won=step.won,
        inert=_equal_pair((looks, steps)),
        dead=(~alive).sum(),
        before=_looked(env, world, before, bodies),
        after=_looked(env, after, look, later),
    )


def _looked(
    env: Env, world: EnvState, look: Observation, bodies: Bodies | None
) -> Looked:
    """What is seen of a world in one state, given its observation and bodies."""
    again = env.observe(env.unpack(env.pack(world)))
    return Looked(
        finite=jnp.isfinite(look.obs).all() & jnp.isfinite(look.state).all(),
        offered=look.avail.any(-1).all(),
        lossless=_equal_pair(jax.tree.map(lambda *x: jnp.stack(x), look, again)),
        flagged=_flagged(env.spec, look),
        typed=_typed(env.spec, look.obs, bodies),
    )


def _drawn(key: Key, avail: Array) -> Array:
    """Available actions `[N]` by chance; the first where none is."""
    scores = jax.random.uniform(key, avail.shape)
    return jnp.where(avail, scores, -1.0).argmax(-1).astype(jnp.int32)


def _flagged(spec: EnvSpec, seen: Observation) -> Array:
    """Whether features that are said to be flags are 0 or 1."""
    flags = (
        seen.obs[:, np.array(spec.obs_flags, int)],
        seen.state[np.array(spec.state_flags, int)],
    )
    return jnp.stack([((x == 0) | (x == 1)).all() for x in flags]).all()


def _typed(spec: EnvSpec, obs: Array, bodies: Bodies | None) -> Array:
    """Whether living agents see their type, one-hot; without bodies, at most one."""
    if spec.own_type is None:
        return jnp.ones((), bool)
    own = obs[:, spec.own_type : spec.own_type + len(spec.kinds)]
    if bodies is None:  # who is dead, and may see nothing, is not known
        return (((own == 0) | (own == 1)).all(-1) & (own.sum(-1) <= 1)).all()
    right = (own == jax.nn.one_hot(bodies.kind, len(spec.kinds))).all(-1)
    return (right | ~bodies.alive).all()


def _equal_pair(tree: Any) -> Array:
    """Whether both entries of the leading axis are the same, NaN being itself."""
    same = jax.tree.map(lambda x: ((x[0] == x[1]) | (x[0] != x[0])).all(), tree)
    return jnp.stack(jax.tree.leaves(same)).all()
