"""Workers of a run, and what is refused before any of them starts."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.pool.pool import Pool
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.run.legs import check_intervals, require_countable
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Remote


@contextmanager
def opened(cfg: RunConfig, world: Remote, since: int = 0) -> Iterator[Pool]:
    """Workers of a run, ended when the block is left.

    Args:
        cfg: of the run.
        world: that they play.
        since: env steps that it has made already.

    Raises:
        ConfigError: settings that cannot work, or no worker can be started.
    """
    bridge = build(BridgeConfig, cfg.bridge, "bridge")
    check_run(cfg, bridge, world)
    with closing(Pool(bridge, world, cfg.seed, since)) as pool:
        yield pool


def check_run(cfg: RunConfig, bridge: BridgeConfig, world: Remote) -> None:
    """Refuses runs that a bridge cannot do, before anything starts.

    Raises:
        ConfigError: names the key.
    """
    if cfg.seeds != 1:
        raise ConfigError(
            f"seeds: got {cfg.seeds}; allowed for env={cfg.env['name']}: 1 (start one "
            "run for each seed: seed=0, seed=1, ...)"
        )
    if cfg.sweep.hypers:
        raise ConfigError(
            f"sweep.hypers: got {', '.join(cfg.sweep.hypers)}; allowed for "
            f"env={cfg.env['name']}: none (its worlds are processes; start one run for "
            "each value)"
        )
    timeout = world.settings.get("sc2_timeout_s")
    if timeout is not None and bridge.step_deadline_s <= timeout:
        raise ConfigError(
            f"bridge.step_deadline_s: got {bridge.step_deadline_s}; allowed: more than "
            f"env.sc2_timeout_s={timeout}, after which the game is restarted"
        )
    check_intervals(cfg)
    require_countable(cfg, cfg.total_steps, worlds=1)
