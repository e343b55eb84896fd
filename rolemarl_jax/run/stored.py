"""Learners of a stored run: loaded from its checkpoints, and judged."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from rolemarl_jax import members
from rolemarl_jax.config import EvalConfig, RunConfig
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.experience.evaluate import make_evaluate
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.report.evaluation import Outcomes
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
        axis ``[M, ...]`` of members, in the order of ``members.members``.

    Raises:
        ConfigError: there is no checkpoint, or none that can be read.
    """
    ids, _ = members.arrays(cfg, members.count(cfg))
    abstract = jax.eval_shape(jax.vmap(partial(initial_learner, learner)), ids)
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    return checkpoint.restore(folder, {"learner": abstract}, step)


def evaluate(
    cfg: RunConfig, env: Env, learner: Learner, episodes: int, step: int | None = None
) -> Outcomes:
    """Plays greedy episodes with a checkpoint; every member plays the same ones.

    Args:
        cfg: as for ``load_states``.
        env: the world that the run was trained in.
        learner: made from ``cfg.algo``.
        episodes: a member.
        step: of the checkpoint; ``None`` for the newest whole one.

    Raises:
        ConfigError: as ``load_states``.
    """
    found = load_states(cfg, learner, step)
    worlds = max(n for n in range(1, min(WORLDS, episodes) + 1) if episodes % n == 0)
    game = EvalConfig(every=cfg.eval.every, episodes=episodes, worlds=worlds)
    one_member = make_evaluate(game, env, learner)
    played = jax.jit(lambda states: jax.lax.map(one_member, states))(
        found.state["learner"]
    )
    return Outcomes(found.step, found.note, *map(np.asarray, played))
