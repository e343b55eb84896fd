"""Keys that were typed and that nothing would read are refused, not ignored."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from experiments.door.compose import Composed
from rolemarl_jax import reads
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk.rundir import leaves
from rolemarl_jax.run_config import RunConfig


class Section(NamedTuple):
    """A record of the configuration, and which of its keys are read when."""

    where: str
    record: Any
    table: tuple[reads.ReadWhen, ...]


def refuse(new: Composed, cfg: RunConfig) -> None:
    """Compares the keys of a command line with what the run will read.

    Args:
        new: the command line. cfg: what it means.

    Raises:
        ConfigError: names each key that nothing reads, and what would read it.
    """
    faults = _swept(new, cfg)
    for where, record, table in _sections(cfg):
        faults |= reads.unread(record, table, where, new.leaves)
    if not faults:
        return
    values = dict(leaves(new.values))
    lines = [
        f"{key}: got {values.get(key)!r}, which nothing reads here; it is read by "
        f"{faults[key]}"
        for key in sorted(faults)
    ]
    raise ConfigError("\n".join(lines))


def _sections(cfg: RunConfig) -> Iterator[Section]:
    """The records of a run that have a table."""
    import envs  # only now: it imports jax, and flags are set before
    from rolemarl_jax import learners, roles

    world = envs.module_of(cfg.env)
    yield Section("", reads.Mode(cfg, envs.is_bridged(world)), reads.RUN)
    yield from _section("env", cfg.env, world)
    yield from _section("algo", cfg.algo, learners.module_of(cfg.algo))
    role = cfg.algo.get("role")
    if isinstance(role, Mapping):
        yield from _section("algo.role", role, roles.module_of(role))


def _section(where: str, values: Mapping[str, Any], module: Any) -> Iterator[Section]:
    """The section that a module's record describes, if it has a table."""
    if hasattr(module, "READ_WHEN"):
        yield Section(where, build(module.Config, values, where), module.READ_WHEN)


def _swept(new: Composed, cfg: RunConfig) -> dict[str, str]:
    """Typed keys of the algorithm whose values a sweep replaces."""
    from rolemarl_jax.program import swept  # only now, as above

    typed = set(new.leaves)
    found = {}
    for name in cfg.sweep.hypers:
        keys = {f"algo.{key}" for key in swept.keys(name)}
        mode = f"runs without sweep.hypers.{name}"
        found |= dict.fromkeys(keys & typed, mode)
    return found
