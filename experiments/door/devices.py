"""What has to be told to XLA before the first array is made."""

import os
import re
import sys
from pathlib import Path

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.sweep.cards import target

COUNT = "xla_force_host_platform_device_count"


def prepare_devices(cfg: RunConfig) -> None:
    """Devices, determinism and the persistent compilation cache of this process.

    On a CPU, seeds are spread over several devices of one core each
    (``train.host_devices``). Flags that the user set in ``XLA_FLAGS`` win. Has no
    effect on devices that this process has used already.

    Raises:
        ConfigError: more members than can be listed, more devices than cores or
            seeds, other flags than these, or a card that cannot be planned for.
    """
    members.check_count(cfg)
    _check(cfg)
    target.prepare(cfg.sweep.card if cfg.sweep.plan_only else None, "sweep.card")
    flags = {COUNT: str(host_devices(cfg))}
    if cfg.deterministic:
        flags["xla_gpu_deterministic_ops"] = "true"
    add_flags(flags)
    use_cache(cache_dir())


def host_devices(cfg: RunConfig) -> int:
    """CPU devices of this run: one a core, and no more than members."""
    if cfg.train.host_devices is not None:
        return cfg.train.host_devices
    return max(1, min(cores(), members.count(cfg)))


def _check(cfg: RunConfig) -> None:
    """Refuses a number of devices that would be overruled, idle, or crowded."""
    asked = cfg.train.host_devices
    if asked is None:
        return
    found = re.search(rf"--{COUNT}=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if found and int(found[1]) != asked:
        raise ConfigError(
            f"train.host_devices: got {asked}, but XLA_FLAGS has --{COUNT}={found[1]}; "
            "allowed: the same number, or only one of the two"
        )
    most = min(cfg.seeds, max(cores(), int(found[1]) if found else 1))
    if asked > most:
        raise ConfigError(
            f"train.host_devices: got {asked}; allowed: up to {most} (a seed is not "
            f"split: seeds={cfg.seeds}; cores of this process: {cores()}), or null for "
            "one a core"
        )


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_dir() -> Path:
    """``$ROLEMARL_CACHE``, or a folder of the user's."""
    default = Path.home() / ".cache" / "rolemarl_jax"
    return Path(os.environ.get("ROLEMARL_CACHE", default)).expanduser()


def add_flags(flags: dict[str, str]) -> None:
    """Adds flags to ``XLA_FLAGS`` unless they are there already."""
    present = os.environ.get("XLA_FLAGS", "")
    new = [f"--{name}={value}" for name, value in flags.items() if name not in present]
    os.environ["XLA_FLAGS"] = " ".join([*present.split(), *new])


def use_cache(folder: Path) -> None:
    """Keeps every compiled program in a folder; goes on without if it cannot."""
    import jax  # only now: XLA_FLAGS is complete

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"no compilation cache: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
