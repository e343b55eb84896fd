"""Evaluation: while training, on episodes that are the same for every seed and time."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rolemarl_jax.config import require_divisor
from rolemarl_jax.experience.rollout import beginning
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.rng import named
from rolemarl_jax.run_config import EvalConfig
from rolemarl_jax.trees import choose
from rolemarl_jax.types import AgentState, Array, Env, EnvState, Key, LearnerState


class EvalResult(NamedTuple):
    """Outcome of each evaluation episode, `[episodes]`, and metrics of roles, `[]`."""

    ret: Array
    won: Array
    length: Array
    roles: dict[str, Array] = {}  # noqa: RUF012


class _Game(NamedTuple):
    env: EnvState
    agents: AgentState
    playing: Array  # [W] bool
    at: Array  # [] step
    result: EvalResult


class Evaluate(Protocol):
    """Episodes of a learner: those of a key, or without one the ones of training."""

    def __call__(  # noqa: D102
        self, state: LearnerState, key: Key | None = None, /
    ) -> EvalResult: ...


def make_evaluate(
    cfg: EvalConfig, env: Env, learner: Learner, *, sampled: bool = False
) -> Evaluate:
    """Plays ``cfg.episodes`` episodes with ``cfg.worlds`` worlds at a time.

    Each world plays exactly one episode a round, so that short episodes are not
    over-weighted; a round ends when its last episode does.

    Args:
        sampled: actions are drawn from the policy instead of being greedy.

    Raises:
        ConfigError: ``eval.worlds`` does not divide ``eval.episodes``.
    """
    require_divisor("eval.worlds", cfg.worlds, "eval.episodes", cfg.episodes)
    worlds, n_agents = cfg.worlds, env.spec.n_agents

    def play(state: LearnerState, key: Key) -> EvalResult:
        keys = jax.random.split(named(key, "reset"), worlds)
        zeros = jnp.zeros(worlds)
        game = _Game(
            env=jax.vmap(env.reset)(keys),
            agents=beginning(learner.carry(worlds), worlds, n_agents),
            playing=jnp.ones(worlds, bool),
            at=jnp.zeros((), jnp.int32),
            result=EvalResult(zeros, zeros, zeros),
        )
        step = _stepper(env, learner, state, key, sampled)
        return jax.lax.while_loop(lambda g: g.playing.any(), step, game).result

    def evaluate(state: LearnerState, key: Key | None = None) -> EvalResult:
        root = named(jax.random.key(0), "evaluate") if key is None else key
        rounds = cfg.episodes // worlds
        keys = jax.vmap(lambda i: named(root, "round", i))(jnp.arange(rounds))
        results = jax.lax.map(lambda key: play(state, key), keys)
        return jax.tree.map(lambda x: x.reshape(-1), results)

    return evaluate


def _stepper(
    env: Env, learner: Learner, state: LearnerState, key: Key, sampled: bool
) -> Callable[[_Game], _Game]:
    """One tick of all worlds; those that are done no longer count."""

    def step(game: _Game) -> _Game:
        worlds = game.playing.shape[0]
        observation = jax.vmap(env.observe)(game.env)
        agents = game.agents._replace(reset=jnp.full(worlds, game.at == 0))
        if sampled:
            now, never = named(key, "act", game.at), jnp.zeros(())
            actions, carry = learner.act(state, agents, observation, never, now)
        else:
            actions, carry, _ = learner.greedy(state, agents, observation)
        keys = jax.random.split(named(key, "step", game.at), worlds)
        after, now = jax.vmap(env.step)(keys, game.env, actions)
        # Chosen, not multiplied: a world may return anything after its end.
        gained = EvalResult(now.reward, now.won.astype(jnp.float32), jnp.ones(worlds))
        so_far = jax.tree.map(jnp.add, game.result, gained)
        result = choose(game.playing, so_far, game.result)
        playing = game.playing & ~(now.terminated | now.truncated)
        agents = agents._replace(carry=carry, last_action=actions)
        return _Game(after, agents, playing, game.at + 1, result)

    return step
