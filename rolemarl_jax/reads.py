"""Which keys a chosen mode reads, so that one that was typed in vain can be refused.

``RUN`` is the table of what all runs share. A learner, a role method or a world has
rows of its own: ``READ_WHEN`` in its module, with keys below its own section. Keys that
no row names are always read.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rolemarl_jax.run_config import RunConfig


class ReadWhen(NamedTuple):
    """Keys that only some modes read.

    Attributes:
        keys: below the record's section; a section stands for all of its keys.
        when: whether they are read, given the record.
        mode: what reads them, as a person may set it: ``replay.sampling=filled``.
    """

    keys: tuple[str, ...]
    when: Callable[[Any], bool]
    mode: str


class Mode(NamedTuple):
    """What decides which of the shared keys are read.

    Attributes:
        cfg: of the run.
        bridged: whether other processes play its worlds.
    """

    cfg: RunConfig
    bridged: bool

    @property
    def fresh(self) -> bool:
        """Whether the algorithm is on-policy."""
        return self.cfg.replay.sampling == "fresh"


COMPILED = "worlds that are compiled, such as env=smax"
BRIDGED = "worlds in processes of their own: env=smac, smacv2, gymma, grf, scripted"
REPLAYED = "algorithms that learn from replay: replay.sampling=episodes or filled"

# What is planned for seeds of one program; `plan_only` is heeded by every run.
SHARED = (
    *("sweep.hypers", "sweep.chunk", "sweep.device_memory", "sweep.fraction"),
    *("sweep.coordinator", "sweep.processes", "sweep.process"),
)

RUN: tuple[ReadWhen, ...] = (
    ReadWhen(
        ("sweep.card",),
        lambda m: m.cfg.sweep.plan_only and not m.bridged,
        f"sweep.plan_only=true, with {COMPILED}",
    ),
    ReadWhen(("bridge",), lambda m: m.bridged, BRIDGED),
    ReadWhen(
        (*SHARED, "eval.worlds", "eval.role_episodes"),
        lambda m: not m.bridged,
        COMPILED,
    ),
    ReadWhen(("replay.store",), lambda m: not m.bridged, COMPILED),
    ReadWhen(
        ("train.seeds_by", "train.seeds_together", "train.host_devices"),
        lambda m: not m.bridged,
        COMPILED,
    ),
    ReadWhen(
        ("train.worlds", "train.steps_per_update"),
        lambda m: m.fresh or not m.bridged,
        f"{COMPILED}, and by on-policy algorithms, such as algo=mappo",
    ),
    ReadWhen(
        ("train.warmup_steps", "bridge.updates_per_episode"),
        lambda m: not (m.fresh and m.bridged),
        REPLAYED,
    ),
    ReadWhen(
        ("train.seeds_together",),
        lambda m: m.cfg.train.seeds_by != "map",
        "train.seeds_by=vmap or auto",
    ),
    ReadWhen(
        ("replay.episodes", "replay.mean_length"), lambda m: not m.fresh, REPLAYED
    ),
    ReadWhen(
        ("replay.batch",),
        lambda m: m.cfg.replay.sampling == "episodes",
        "replay.sampling=episodes",
    ),
    ReadWhen(
        ("replay.rows", "replay.row_length", "replay.burn_in"),
        lambda m: m.cfg.replay.sampling == "filled",
        "replay.sampling=filled",
    ),
    ReadWhen(
        ("logger.project", "logger.entity", "logger.per_seed"),
        lambda m: m.cfg.logger.get("wandb") != "disabled",
        "logger=wandb or logger=offline",
    ),
    ReadWhen(
        ("bridge.key_file",),
        lambda m: m.cfg.bridge.get("listen") is not None,
        "bridge.listen=tcp://host:port",
    ),
)


def unread(
    record: Any, table: Iterable[ReadWhen], where: str, keys: Iterable[str]
) -> dict[str, str]:
    """What would read those of the keys that this record does not.

    Args:
        record: what the table's conditions look at.
        table: of ``ReadWhen``.
        where: dotted section of its keys, empty at the top.
        keys: dotted, from the top.

    Returns:
        Modes by key; keys that are read are left out.
    """
    found: dict[str, str] = {}
    for row in table:
        own = [f"{where}.{name}" if where else name for name in row.keys]
        named = [key for key in keys if key not in found and _within(key, own)]
        if named and not row.when(record):
            found |= dict.fromkeys(named, row.mode)
    return found


def _within(key: str, sections: Iterable[str]) -> bool:
    """Whether a key is one of these, or below one."""
    return any(key == one or key.startswith(f"{one}.") for one in sections)
