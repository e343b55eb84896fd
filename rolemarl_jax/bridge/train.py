"""A run in worlds that other processes play."""

from functools import partial

import jax

from rolemarl_jax.bridge import recording, runner, saved
from rolemarl_jax.bridge.opening import opened
from rolemarl_jax.bridge.pool.pool import Pool
from rolemarl_jax.disk import lock
from rolemarl_jax.learners import make_learner
from rolemarl_jax.run import saved as run_saved
from rolemarl_jax.run import session, warm
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import Remote


def train_remote(cfg: RunConfig, world: Remote) -> None:
    """Starts the workers, trains, and ends them; prints what was reached.

    With ``sweep.plan_only`` it ends them once a game has told its sizes, and prints
    what a run would hold.

    Raises:
        ConfigError: the configuration cannot be run; nothing was written then.
        Interrupted, StoppedError: the run ended early, and is saved.
    """
    if cfg.sweep.plan_only:
        with opened(cfg, world) as pool:
            print(_plan(cfg, pool))
        return
    lock.require_free(cfg.run_dir, "run_dir")  # starting games takes a while
    since = run_saved.steps_done(cfg)
    with recording.held(cfg), opened(cfg, world, since) as pool:
        learner = warm.begun(cfg, make_learner(cfg.algo, pool.spec), pool.spec)
        session.run(cfg, learner, partial(runner.run, cfg, pool, learner))


def _plan(cfg: RunConfig, pool: Pool) -> str:
    """What a run would hold in memory, in a line as compiled worlds have one."""
    learner = make_learner(cfg.algo, pool.spec)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    replay = saved.memory_shapes(cfg, pool.spec, learner)
    return (
        f"{cfg.algo['name']} on {pool.spec.name}: 1 seed, "
        f"{tree_bytes(state) / 1e6:.1f} MB of learner and "
        f"{tree_bytes(replay) / 1e6:.1f} MB of replay; "
        f"bridge.workers={cfg.bridge['workers']}, one game a process"
    )
