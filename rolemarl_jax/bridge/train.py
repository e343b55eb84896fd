"""A run in worlds that other processes play."""

from functools import partial

from rolemarl_jax.bridge import recording, runner
from rolemarl_jax.bridge.opening import opened
from rolemarl_jax.config import RunConfig
from rolemarl_jax.disk import lock
from rolemarl_jax.learners import make_learner
from rolemarl_jax.run import session, warm
from rolemarl_jax.types import Remote


def train_remote(cfg: RunConfig, world: Remote) -> None:
    """Starts the workers, trains, and ends them; prints what was reached.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        Interrupted, StoppedError: the run ended early, and is saved.
    """
    lock.require_free(cfg.run_dir, "run_dir")  # starting games takes a while
    with recording.held(cfg), opened(cfg, world) as pool:
        learner = warm.begun(cfg, make_learner(cfg.algo, pool.spec), pool.spec)
        session.run(cfg, learner, partial(runner.run, cfg, pool, learner))
