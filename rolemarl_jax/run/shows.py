"""Greedy episodes of stored learners, with all that there is to be shown of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.experience.watch import Glance, make_watch
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.ops.cluster import kmeans
from rolemarl_jax.rng import named
from rolemarl_jax.rng import root as rng_root
from rolemarl_jax.roles.parts.method import Feats
from rolemarl_jax.run.insights import Finding, Played, find
from rolemarl_jax.types import Array, Batch, Env, EnvState, LearnerState, Observation

WORLDS = 32  # at least, that play together: some networks read statistics of them
ITERATIONS = 10  # of K-means


class Clustered(NamedTuple):
    """Clusters of the agents of each step by itself."""

    points: Array  # [T, B, N, D], what was clustered
    labels: Array  # [T, B, N] int32


class Shown(NamedTuple):
    """B episodes over T steps, T being the time limit; NumPy."""

    worlds: EnvState  # [T + 1, B, ...]
    length: np.ndarray  # [B], steps that were played
    won: np.ndarray  # [B] bool
    reward: np.ndarray  # [T, B]
    action: np.ndarray  # [T, B, N]
    alive: np.ndarray  # [T, B, N] bool
    feats: Feats  # [T, B, N, ...]
    clusters: Clustered | None  # None for methods without roles
    findings: list[Finding]


class _Noted(NamedTuple):
    world: EnvState
    observation: Observation
    last_action: Array
    reset: Array
    action: Array
    feats: Feats
    alive: Array


def make_show(
    algo: Mapping[str, Any], env: Env, learner: Learner, episodes: int
) -> Callable[[LearnerState, int], Shown]:
    """A function from one learner and a seed id to B = ``episodes`` of its episodes."""

    def note(_: LearnerState, glance: Glance) -> _Noted:
        alive = jnp.ones(glance.action.shape, bool)
        if env.bodies is not None:
            alive = jax.vmap(env.bodies)(glance.world).alive
        agents = glance.agents
        taken = _Noted(
            world=glance.world,
            observation=glance.observation,
            last_action=agents.last_action,
            reset=agents.reset,
            action=glance.action,
            feats=glance.feats,
            alive=alive,
        )
        return jax.tree.map(lambda leaf: leaf[:episodes], taken)

    watch = make_watch(env, learner, max(WORLDS, episodes), note)

    @jax.jit
    def play(state: LearnerState, seed: int) -> Shown:
        seen = watch(state, named(rng_root(seed), "show"))
        last, won, reward, playing = jax.tree.map(
            lambda leaf: leaf[:episodes],
            (seen.last, seen.won, seen.reward.T, seen.playing.T),
        )
        noted, alive = seen.noted, seen.noted.alive
        batch = _batch(env, noted, last, (reward.T, playing.T))
        return Shown(
            worlds=jax.tree.map(
                lambda x, end: jnp.concatenate([x, end[None]]), noted.world, last
            ),
            length=playing.sum(1),
            won=won,
            reward=reward.T,
            action=noted.action,
            alive=alive,
            feats=noted.feats,
            clusters=_clusters(algo, noted.feats, alive),
            findings=find(
                algo, env.spec, Played(learner.judged(state), batch, noted.feats)
            ),
        )

    return lambda state, seed: jax.tree.map(np.asarray, play(state, seed))


def _batch(
    env: Env, noted: _Noted, last: EnvState, outcome: tuple[Array, Array]
) -> Batch:
    """The episodes as learners read them: T transitions, T + 1 observations."""
    reward, playing = outcome
    end = jax.vmap(env.observe)(last)

    def longer(x: Array, after: Array) -> Array:
        return jnp.concatenate([x, after[None]])

    seen = jax.tree.map(longer, noted.observation, end)
    never = jnp.zeros(reward.shape, bool)
    return Batch(
        obs=seen.obs,
        state=seen.state,
        avail=seen.avail,
        last_action=longer(noted.last_action, noted.action[-1]),
        reset=longer(noted.reset, jnp.zeros_like(noted.reset[0])),
        action=noted.action,
        reward=reward,
        terminated=never,
        truncated=never,
        mask=playing.astype(jnp.float32),
    )


def _clusters(algo: Mapping[str, Any], feats: Feats, alive: Array) -> Clustered | None:
    """Clusters of what the method itself clusters, its embeddings, or of its roles."""
    if "role" not in feats:
        return None
    points, n = feats.get("embedding", feats["role"]), alive.shape[-1]
    count = algo["role"].get("clusters") or max(1, min(3, n - 1))
    return Clustered(points, kmeans(points, count, ITERATIONS, alive))
