"""Battles of scripted allies: how often they win, and a film of one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.battle.scripted import Memory
from envs.battle.world import Rules
from rolemarl_jax.types import Array, Env, EnvState, Key

# (world, memory, key) -> actions [N] int32, memory
Act = Callable[[EnvState, Memory, Key], tuple[Array, Memory]]


class Fought(NamedTuple):
    """E battles up to the time limit T.

    Attributes:
        worlds: environment states, leaves `[T + 1, E, ...]`.
        going: whether the step was still to be fought, `[T, E]` bool.
        won: whether it won, `[T, E]` bool.
    """

    worlds: EnvState
    going: Array
    won: Array


class Rate(NamedTuple):
    """What scripted allies reach.

    Attributes:
        win_rate: share of battles won, in [0, 1].
        length: mean env steps of a battle.
    """

    win_rate: float
    length: float


class Film(NamedTuple):
    """An animation of one battle.

    Attributes:
        frames: how many pictures.
        won: whether the allies did.
    """

    frames: int
    won: bool


def play(env: Env, act: Act, memory: Memory, episodes: int, seed: int) -> Fought:
    """Battles of scripted allies up to the time limit.

    Args:
        env: whose states the allies understand.
        act: of the allies (`envs.smax.reference`).
        memory: what they remember at the start of a battle.
        episodes: E, how many battles.
        seed: of starts and chances.
    """

    def battle(key: Key) -> Fought:
        def tick(carry: Any, t: Array) -> tuple[Any, Any]:
            world, remembered, going = carry
            one, two = jax.random.split(jax.random.fold_in(key, t))
            actions, remembered = act(world, remembered, one)
            after, out = env.step(two, world, actions)
            still = going & ~(out.terminated | out.truncated)
            return (after, remembered, still), (after, going, out.won & going)

        start = env.reset(key)
        first = (start, memory, jnp.ones((), bool))
        steps = jnp.arange(env.spec.episode_limit)
        worlds, going, won = jax.lax.scan(tick, first, steps)[1]
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, worlds)
        return Fought(whole, going, won)

    keys = jax.random.split(jax.random.key(seed), episodes)
    return jax.jit(jax.vmap(battle, out_axes=1))(keys)


def rate(env: Env, act: Act, memory: Memory, episodes: int, seed: int) -> Rate:
    """Win rate and mean length; arguments as for ``play``."""
    fought = play(env, act, memory, episodes, seed)
    wins, lengths = fought.won.any(0), fought.going.sum(0)
    return Rate(float(wins.mean()), float(lengths.mean()))


def film(
    env: Env,
    act: Act,
    memory: Memory,
    rules: Rules,
    out: Path,
    *,
    seed: int,
    size: int,
) -> Film:
    """Animates one battle until it ends.

    Args:
        env: whose states have ``units``.
        act: of the allies.
        memory: what they remember at its start.
        rules: of the battle.
        out: file, a GIF or an MP4.
        seed: of its start and chances.
        size: width in pixels.
    """
    # Pictures need packages that training does without.
    from envs.battle import render
    from envs.picture import film as films

    fought = play(env, act, memory, 1, seed)
    steps = [
        jax.tree.map(lambda x, t=t: x[t, 0], fought.worlds.units)
        for t in range(int(fought.going.sum()) + 1)
    ]
    pictures = render.frames(rules, steps, size=size)
    films.write(out, pictures)
    return Film(len(pictures), bool(fought.won.any()))
