"""Learners of a stored run: loaded from its checkpoints, and judged."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.experience.evaluate import make_evaluate
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.report.evaluation import Outcomes
from rolemarl_jax.rng import named
from rolemarl_jax.rng import root as rng_root
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Env

WORLDS = 128  # at most, that play together


def load_states(
    cfg: RunConfig, learner: Learner, step: int | None = None
) -> checkpoint.Restored:
    """Reads the learners of a run; everything else in the checkpoint is left alone.

    Args:
        cfg: of the run, as ``rundir.load_config`` reads it; of one chunk where there
            are several.
        learner: made from ``cfg.algo``.
        step: of the checkpoint; ``None`` for the newest whole one.

    Returns:
        The checkpoint; ``state["learner"]`` is a ``LearnerState`` with a leading
        axis ``[M, ...]`` of members, in the order of ``members.members``; without
        optimisers where the run was released.

    Raises:
        ConfigError: there is no checkpoint, or none that can be read.
    """
    ids, _ = members.arrays(cfg, members.count(cfg))
    abstract = jax.eval_shape(jax.vmap(partial(initial_learner, learner)), ids)
    folder = rundir.learners(cfg.run_dir)
    if folder.name == rundir.RELEASED:
        abstract = abstract._replace(opt={})
    return checkpoint.restore(folder, {"learner": abstract}, step)


class Games(NamedTuple):
    """Which episodes are played, and how.

    Attributes:
        episodes: a member.
        seed: of the episodes; members of one seed id play the same ones.
        sampled: actions are drawn from the policy instead of being greedy.
    """

    episodes: int
    seed: int
    sampled: bool = False


def require_policy(cfg: RunConfig, learner: Learner) -> None:
    """Refuses to draw actions from what has no policy to draw from.

    Raises:
        ConfigError: the learner acts by values.
    """
    if not learner.samples:
        raise ConfigError(
            f"policy: got 'sampled', but algo={cfg.algo.get('name')} acts by action "
            "values: when it explores it is greedy but for a share of random actions; "
            "allowed: greedy"
        )


def evaluate(
    cfg: RunConfig, env: Env, learner: Learner, games: Games, step: int | None = None
) -> Outcomes:
    """Plays episodes with a checkpoint, other ones than training's own evaluations.

    Args:
        cfg: as for ``load_states``.
        env: the world that the run was trained in, or one of the same sizes.
        learner: made from ``cfg.algo``.
        games: which episodes.
        step: of the checkpoint; ``None`` for the newest whole one.

    Raises:
        ConfigError: as ``load_states``, or nothing to sample from.
    """
    if games.sampled:
        require_policy(cfg, learner)
    found, episodes = load_states(cfg, learner, step), games.episodes
    worlds = max(n for n in range(1, min(WORLDS, episodes) + 1) if episodes % n == 0)
    plan = replace(cfg.eval, episodes=episodes, worlds=worlds)
    one_member = make_evaluate(plan, env, learner, sampled=games.sampled)
    root = named(rng_root(games.seed), "evaluation")
    ids, _ = members.arrays(cfg, members.count(cfg))
    keys = jax.vmap(lambda seed: named(root, "seed", seed))(ids)
    played = jax.jit(lambda states: jax.lax.map(lambda x: one_member(*x), states))(
        (found.state["learner"], keys)
    )
    outcomes = map(np.asarray, (played.ret, played.won, played.length))
    return Outcomes(found.step, found.note, *outcomes)
