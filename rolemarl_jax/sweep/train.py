"""All seeds of a run in compiled worlds: at once, in chunks, or a share of them."""

import time
from functools import partial
from pathlib import Path

from rolemarl_jax.disk import lock
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.program import seed_shapes
from rolemarl_jax.report import summary
from rolemarl_jax.run import runner, session
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.sweep import chunks, shares
from rolemarl_jax.types import Env


def train_compiled(cfg: RunConfig, env: Env, learner: Learner) -> None:
    """Trains all seeds, or this process's share of them; prints what was reached.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        Interrupted: the run was asked to stop, and is saved.
    """
    plan = partial(chunks.plan, env=env, learner=learner)
    if cfg.sweep.plan_only:
        plan(cfg)
    elif shares.wanted(cfg):
        chosen, share = shares.settle(cfg, plan)
        _in_chunks(chosen, env, learner, share)
    else:
        lock.require_free(cfg.run_dir, "run_dir")  # planning compiles
        _alone(plan(cfg), env, learner)


def _alone(cfg: RunConfig, env: Env, learner: Learner) -> None:
    """All seeds, in a directory that no other process uses."""
    if (cfg.sweep.chunk or cfg.seeds) >= cfg.seeds:
        _at_once(cfg, env, learner)
        return
    with session.held(cfg):
        _in_chunks(cfg, env, learner)


def _at_once(cfg: RunConfig, env: Env, learner: Learner) -> None:
    """All seeds of a configuration in one program."""
    session.run(cfg, learner, partial(runner.run, cfg, env, learner))


def _in_chunks(
    cfg: RunConfig, env: Env, learner: Learner, share: shares.Share = shares.ALONE
) -> None:
    """Chunks of this process, and one summary of all that are finished."""
    began = time.monotonic()

    def merged() -> None:
        session.finish(cfg, {"wall_seconds": time.monotonic() - began})

    chunks.run(
        cfg,
        train=partial(_at_once, env=env, learner=learner),
        merged=merged,
        shapes=seed_shapes(cfg, env, learner),
        share=share,
    )
    if chunks.complete(cfg):
        found = summary.known(Path(cfg.run_dir))
        places = {} if found is None else session.places(Path(cfg.run_dir), found)
        reached = [places[key] for key in ("ranking", "note") if key in places]
        print(f"all {cfg.seeds} seeds: {cfg.run_dir}", *reached, sep="\n")
    else:
        print(f"process {share.process} is done, others are not: {cfg.run_dir}")
