"""Configuration of the bridge (key ``bridge``), checked before anything starts."""

import ipaddress
import shutil
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from rolemarl_jax.config import INT32, ConfigError, Natural, Positive, Size, config

# Polls count milliseconds in int32.
Milliseconds = Annotated[float, Field(ge=0, le=INT32)]
Seconds = Annotated[float, Field(gt=0, le=INT32 // 1000)]


@config
class BridgeConfig:
    """Worker processes and what to do when they fail.

    Attributes:
        workers: environments, one a process.
        remote: how many of them are started by hand on other hosts.
        python: interpreter of the workers; ``None`` takes this one.
        listen: ``None`` for a private socket, or ``tcp://host:port``.
        key_file: shared key; needed where others than this host can reach ``listen``.
        max_wait_ms: how long acting waits for more workers once one is ready.
        updates_per_episode: learner updates for each finished episode.
        min_workers: with fewer than these left, the run saves and stops.
        start_deadline_s: longest time until a worker has started; then it is killed.
        reset_deadline_s: likewise until it has begun an episode.
        step_deadline_s: likewise until it has made a step.
        backoff_s: pause before a restart; doubled each time, until an episode has been
            finished.
        backoff_max_s: longest pause.
        restarts_per_hour: failures of one worker, or of its game, before it is given
            up.
        record: folder that every finished episode is saved to, or ``None``.
    """

    workers: Size
    remote: Natural
    python: str | None
    listen: str | None
    key_file: str | None
    max_wait_ms: Milliseconds
    updates_per_episode: Positive
    min_workers: Positive
    start_deadline_s: Seconds
    reset_deadline_s: Seconds
    step_deadline_s: Seconds
    backoff_s: Seconds
    backoff_max_s: Seconds
    restarts_per_hour: Natural
    record: str | None


def check_bridge(cfg: BridgeConfig) -> None:
    """Refuses settings that cannot work or that would open a door.

    Raises:
        ConfigError: names the key, what was got and what is allowed.
    """
    if cfg.remote > cfg.workers:
        raise ConfigError(
            f"bridge.remote: got {cfg.remote}; allowed: up to bridge.workers="
            f"{cfg.workers}, of which they are a part"
        )
    if cfg.min_workers > cfg.workers:
        raise ConfigError(
            f"bridge.min_workers: got {cfg.min_workers}; allowed: up to "
            f"bridge.workers={cfg.workers}"
        )
    if cfg.python is not None and shutil.which(cfg.python) is None:
        raise ConfigError(
            f"bridge.python: got '{cfg.python}', which is no program; allowed: the "
            "path of a Python interpreter with pyzmq, numpy and the game's packages"
        )
    if cfg.remote and cfg.listen is None:
        raise ConfigError(
            "bridge.listen: got null; allowed with bridge.remote: tcp://host:port"
        )
    if cfg.remote and cfg.key_file is None:
        raise ConfigError("bridge.key_file: got null; needed with bridge.remote")
    if cfg.key_file is not None:
        _check_key(Path(cfg.key_file))
    if cfg.listen is not None:
        _check_listen(cfg.listen, cfg.key_file)


def _check_listen(listen: str, key_file: str | None) -> None:
    parts = urlsplit(listen)
    if parts.scheme != "tcp" or not parts.hostname:
        raise ConfigError(f"bridge.listen: got '{listen}'; allowed: tcp://host:port")
    if not _is_loopback(parts.hostname) and key_file is None:
        raise ConfigError(
            f"bridge.listen: got '{listen}', which other hosts can reach; allowed "
            "without bridge.key_file: tcp://127.0.0.1:port. Make a key with: python "
            "-m rolemarl_jax.bridge.keys FILE"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_key(path: Path) -> None:
    try:
        lines = path.read_text(encoding="utf8").split()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"bridge.key_file: {error}") from None
    if len(lines) != 2 or {len(line) for line in lines} != {40}:
        raise ConfigError(
            f"bridge.key_file: '{path}' is no key; make one with: python -m "
            "rolemarl_jax.bridge.keys FILE"
        )
    if mode & 0o077:
        raise ConfigError(
            f"bridge.key_file: others may read '{path}'; allowed: chmod 600"
        )
