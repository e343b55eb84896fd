"""Greedy evaluation on episodes that are the same for every seed and every time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, EvalConfig
from rolemarl_jax.learners.parts.phases import Learner
from rolemarl_jax.rng import named
from rolemarl_jax.types import Array, Env, EnvState, Key, LearnerState, PyTree


class Played(NamedTuple):
    """Outcome of each evaluation episode, `[episodes]`."""

    ret: Array
    won: Array
    length: Array


class _Game(NamedTuple):
    env: EnvState
    carry: PyTree
    last_action: Array
    playing: Array  # [W] bool
    at: Array  # [] step
    played: Played


def make_evaluate(
    cfg: EvalConfig, env: Env, learner: Learner
) -> Callable[[LearnerState], Played]:
    """Plays ``cfg.episodes`` greedy episodes with ``cfg.worlds`` worlds at a time.

    Each world plays exactly one episode a round, so that short episodes are not
    over-weighted; a round ends when its last episode does.

    Raises:
        ConfigError: ``eval.worlds`` does not divide ``eval.episodes``.
    """
    if cfg.episodes % cfg.worlds:
        raise ConfigError(
            f"eval.worlds: got {cfg.worlds}, which does not divide "
            f"eval.episodes={cfg.episodes}"
        )
    worlds, n_agents = cfg.worlds, env.spec.n_agents

    def play(state: LearnerState, key: Key) -> Played:
        keys = jax.random.split(named(key, "reset"), worlds)
        zeros = jnp.zeros(worlds)
        game = _Game(
            env=jax.vmap(env.reset)(keys),
            carry=learner.carry(worlds),
            last_action=jnp.full((worlds, n_agents), -1, jnp.int32),
            playing=jnp.ones(worlds, bool),
            at=jnp.zeros((), jnp.int32),
            played=Played(zeros, zeros, zeros),
        )
        step = _stepper(env, learner, state, key)
        return jax.lax.while_loop(lambda g: g.playing.any(), step, game).played

    def evaluate(state: LearnerState) -> Played:
        root = named(jax.random.key(0), "evaluate")
        rounds = cfg.episodes // worlds
        keys = jax.vmap(lambda i: named(root, "round", i))(jnp.arange(rounds))
        played = jax.lax.map(lambda key: play(state, key), keys)
        return jax.tree.map(lambda x: x.reshape(-1), played)

    return evaluate


def _stepper(
    env: Env, learner: Learner, state: LearnerState, key: Key
) -> Callable[[_Game], _Game]:
    """One tick of all worlds; those that are done no longer count."""

    def step(game: _Game) -> _Game:
        worlds = game.playing.shape[0]
        seen = jax.vmap(env.observe)(game.env)
        reset = jnp.full(worlds, game.at == 0)
        actions, carry, _ = learner.greedy(
            state, game.carry, seen, game.last_action, reset
        )
        keys = jax.random.split(named(key, "step", game.at), worlds)
        after, now = jax.vmap(env.step)(keys, game.env, actions)
        # Chosen, not multiplied: a world may return anything after its end.
        gained = Played(now.reward, now.won.astype(jnp.float32), jnp.ones(worlds))
        played = jax.tree.map(
            lambda total, x: jnp.where(game.playing, total + x, total),
            game.played,
            gained,
        )
        playing = game.playing & ~(now.terminated | now.truncated)
        return _Game(after, carry, actions, playing, game.at + 1, played)

    return step
