"""What an evaluation tells of roles, for algorithms that have them.

Some greedy episodes are watched. Roles of all living agents at all of their steps are
clustered together, so that a cluster means the same at every step; what else is told
follows from the clusters. docs/methods/roles.md has formulas and chance levels.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.experience.rollout import beginning
from rolemarl_jax.experience.watch import Glance, Seen, make_watch
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.ops import role_stats
from rolemarl_jax.ops.role_stats import mean_where
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.phase import Metrics
from rolemarl_jax.roles.parts.view import RoleView
from rolemarl_jax.run_config import EvalConfig
from rolemarl_jax.types import Array, Bodies, Env, EnvSpec, Key, LearnerState

PREFIX = "role/"
CLUSTERS = 3
ITERATIONS = 10
SAMPLE = 256  # points that centres and silhouette are taken from
GRID = 4  # cells along each side of the map

RoleMetrics = Callable[[LearnerState], Metrics]


class Noted(NamedTuple):
    """What is kept of a step of W worlds."""

    role: Array  # [W, N, Z]
    state: Array  # [W, S]
    bodies: Bodies  # [W, N, ...]
    action: Array  # [W, N] int32
    traded: Array  # [W, N] bool, whether another agent's role was tried
    changed: Array  # [W, N] bool, the likeliest action was another one then
    moved: Array  # [W, N] nats between the policies, where there are any


def make_role_metrics(cfg: EvalConfig, env: Env, learner: Learner) -> RoleMetrics:
    """Metrics of roles by column; none where there are no roles, or nothing to watch.

    Memory is that of ``cfg.role_episodes`` roles of N agents at each step.
    """
    bodies = env.bodies
    if not cfg.role_episodes or bodies is None or not _has_roles(env, learner):
        return lambda _: {}

    def note(state: LearnerState, glance: Glance) -> Noted:
        return _note(learner, state, glance, jax.vmap(bodies)(glance.world))

    watch = make_watch(env, learner, cfg.role_episodes, note)
    root = named(jax.random.key(0), "roles")

    def measure(state: LearnerState) -> Metrics:
        seen = watch(state, root)
        view = _view(seen)
        found = {
            **common(seen.noted, view.there, env.spec, root),
            **influence(seen.noted, view.there, policy=learner.samples),
            **learner.role_metrics(learner.judged(state).params, view),
        }
        return {PREFIX + name: value for name, value in found.items()}

    return measure


def _has_roles(env: Env, learner: Learner) -> bool:
    """Whether greedy features hold a role; nothing is computed."""

    def feats(key: Key) -> dict[str, Array]:
        world = env.observe(env.reset(key))
        observation = jax.tree.map(lambda x: x[None], world)
        agents = beginning(learner.carry(1), 1, env.spec.n_agents)
        return learner.greedy(learner.init(key), agents, observation)[2]

    return "role" in jax.eval_shape(feats, jax.random.key(0))


def _view(seen: Seen) -> RoleView:
    noted: Noted = seen.noted
    first = jnp.arange(seen.playing.shape[0])[:, None] == 0
    return RoleView(
        role=noted.role,
        state=noted.state,
        reset=jnp.broadcast_to(first, seen.playing.shape),
        kind=noted.bodies.kind,
        playing=seen.playing,
        there=seen.playing[..., None] & noted.bodies.alive,
    )


def _note(
    learner: Learner, state: LearnerState, glance: Glance, bodies: Bodies
) -> Noted:
    """Takes down a step, and what agents would do with the role of another.

    Each other agent's role has its turn, one at a step.
    """
    role, avail = glance.feats["role"], glance.observation.avail
    n = role.shape[1]
    shift = 1 + glance.at % max(n - 1, 1)

    def scores(role: Array) -> Array:
        feats = {**glance.feats, "role": role}
        return learner.scores(state, glance.agents, glance.observation, feats)

    # In one product, so that scores that do not depend on the role are equal bits.
    own, other = jax.vmap(scores)(jnp.stack([role, jnp.roll(role, shift, axis=1)]))
    best, then = (jnp.where(avail, q, -jnp.inf).argmax(-1) for q in (own, other))
    return Noted(
        role=role,
        state=glance.observation.state,
        bodies=bodies,
        action=glance.action,
        traded=jnp.roll(bodies.alive, shift, axis=1) & (shift % n > 0),
        changed=best != then,
        moved=role_stats.jensen_shannon(own, other, avail),
    )


def common(noted: Noted, there: Array, spec: EnvSpec, key: Key) -> Metrics:
    """Clusters, what they tell of agents, and how often they change.

    Args:
        noted: `[T, W, ...]`. there: `[T, W, N]` bool, living agents of episodes that
            have not ended.
    """
    k, n = CLUSTERS, spec.n_agents
    x, flat = noted.role.reshape(-1, noted.role.shape[-1]), there.reshape(-1)
    pick, real = role_stats.draw(flat, min(SAMPLE, len(flat)), named(key, "sample"))
    few = x[pick]
    means = role_stats.centres(few, real, k, ITERATIONS)
    labels = role_stats.nearest(noted.role, means)
    held = role_stats.shares(labels, there, k)
    cells = jnp.clip((noted.bodies.place * GRID).astype(jnp.int32), 0, GRID - 1)
    told = {
        "type": (noted.bodies.kind, len(spec.kinds)),
        "agent": (jnp.broadcast_to(jnp.arange(n), labels.shape), n),
        "action": (noted.action, spec.n_actions),
        "position": (cells[..., 0] * GRID + cells[..., 1], GRID**2),
    }
    found = {
        "points": flat.sum().astype(jnp.float32),
        "clusters": (held > 0).sum().astype(jnp.float32),
        "silhouette": role_stats.silhouette(few, labels.reshape(-1)[pick], real, k),
        "switching": role_stats.switching(labels, there),
        "switching_chance": 1 - (held**2).sum(),
    }
    for name, (label, size) in told.items():
        pair = partial(role_stats.mutual_information, there=there, sizes=(k, size))
        found[f"mi_{name}"], found[f"nmi_{name}"] = pair(labels, label)
    return found


def influence(noted: Noted, there: Array, *, policy: bool) -> Metrics:
    """What another agent's role changes, given that both live.

    Args:
        policy: whether scores are logits of a policy.
    """
    tried = there & noted.traded
    changed = mean_where(noted.changed.astype(jnp.float32), tried)
    if not policy:
        return {"influence": changed}
    return {"influence": changed, "influence_js": mean_where(noted.moved, tried)}
