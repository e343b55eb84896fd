"""All seeds of a run in compiled worlds: at once, in chunks, or a share of them."""

import time
from functools import partial

from rolemarl_jax.config import RunConfig
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.program import seed_shapes
from rolemarl_jax.run import runner, session
from rolemarl_jax.sweep import chunks, shares
from rolemarl_jax.types import Env


def train_compiled(cfg: RunConfig, env: Env, learner: Learner) -> None:
    """Trains all seeds, or this process's share of them; prints what was reached.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        Interrupted: the run was asked to stop, and is saved.
    """
    plan = partial(chunks.plan, env=env, learner=learner)
    if shares.wanted(cfg) and not cfg.sweep.plan_only:
        _in_chunks(*shares.settle(cfg, plan), env, learner)
        return
    chosen = plan(cfg)
    if cfg.sweep.plan_only:
        return
    if chosen.sweep.chunk is None or chosen.sweep.chunk >= cfg.seeds:
        _together(env, learner, chosen)
        return
    _in_chunks(chosen, shares.ALONE, env, learner)


def _together(env: Env, learner: Learner, cfg: RunConfig) -> None:
    """All seeds of a configuration in one program."""
    session.run(cfg, learner, partial(runner.run, cfg, env, learner))


def _in_chunks(cfg: RunConfig, share: shares.Share, env: Env, learner: Learner) -> None:
    """Chunks of this process, and one summary of all that are finished."""
    began = time.monotonic()
    told: dict[str, str] = {}

    def merged() -> None:
        places = session.finish(cfg, {"wall_seconds": time.monotonic() - began})
        told.update({key: places[key] for key in ("ranking", "note") if key in places})

    chunks.run(
        cfg,
        train=partial(_together, env, learner),
        merged=merged,
        shapes=lambda part: seed_shapes(part, env, learner),
        share=share,
    )
    if chunks.complete(cfg):
        print(f"all {cfg.seeds} seeds: {cfg.run_dir}", *told.values(), sep="\n")
    else:
        print(f"process {share.process} is done, others are not: {cfg.run_dir}")
