"""What of a running experiment goes into a checkpoint, and how it comes back."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from rolemarl_jax import members
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.experience.memory import FreshState
from rolemarl_jax.experience.rollout import Worlds
from rolemarl_jax.program.program import Program, SeedState
from rolemarl_jax.report import loggers
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import AgentState, PyTree

BEFORE = -1  # env steps: no row is that old


def save(
    cfg: RunConfig,
    parts: Mapping[str, PyTree],
    env_steps: int,
    iterations: int,
    wall_s: float,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint of a run.

    Args:
        cfg: of the run.
        parts: of its state, by name.
        env_steps: of one seed.
        iterations: of the host loop, or episodes where worlds are processes.
        wall_s: seconds that the run has taken, earlier processes included.
        more: what else is noted; what JSON can hold.

    Raises:
        ConfigError: too little free space.
    """
    noted = {"iterations": iterations, "wall_s": wall_s, "env_steps": env_steps}
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    meta = {**noted, **(more or {})}
    checkpoint.save(folder, env_steps, parts, meta, cfg.checkpoint.keep)


def restore(cfg: RunConfig, abstract: Mapping[str, PyTree]) -> checkpoint.Restored:
    """Reads the last whole checkpoint of a run, and drops the rows after it.

    Args:
        cfg: of the run.
        abstract: shapes of the parts wanted.

    Returns:
        What was read; ``state`` and ``meta`` are empty where the run ended before its
        first checkpoint, and begins anew.

    Raises:
        ConfigError: there is no checkpoint and no such run, or none can be read.
    """
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    if _begins_anew(cfg, folder):
        dropped = loggers.truncate_after(Path(cfg.run_dir) / rundir.METRICS, BEFORE)
        note = f"no checkpoint was written yet: begins anew, {dropped} rows dropped."
        return checkpoint.Restored(0, {}, {}, note)
    restored = checkpoint.restore(folder, abstract)
    loggers.truncate_after(Path(cfg.run_dir) / rundir.METRICS, restored.step)
    return restored


def steps_done(cfg: RunConfig) -> int:
    """Env steps of the newest checkpoint that a run goes on from; 0 for a fresh one."""
    if not cfg.resume:
        return 0
    return checkpoint.latest(Path(cfg.run_dir) / rundir.CHECKPOINTS) or 0


def _begins_anew(cfg: RunConfig, checkpoints: Path) -> bool:
    """Whether a run was begun, has no checkpoint, and none was removed.

    One that has a summary came to its end, where each run is saved.
    """
    begun = rundir.traces(cfg.run_dir)
    ended = Path(cfg.run_dir, rundir.SUMMARY).is_file()  # even one that is damaged
    return bool(begun) and not ended and checkpoint.latest(checkpoints) is None


def parts(cfg: RunConfig, state: SeedState) -> dict[str, Any]:
    """Named parts of a checkpoint; an evaluation reads the first alone.

    Surplus members are left out, so that another number of devices can go on. Names
    and nesting on disk are those of the first checkpoints ever written: ``frozen`` is
    ``diverged_at``, and what agents bring along lies beside what else there is.
    """
    asked = members.count(cfg)
    state = jax.tree.map(lambda x: x[:asked], state)
    acting = {
        "key": state.key,
        "worlds": _flat(state.worlds),
        "frozen": state.diverged_at,
    }
    kept = {"learner": state.learner, "acting": acting}
    return {**kept, "replay": _flat(state.replay)} if cfg.checkpoint.replay else kept


def is_whole(cfg: RunConfig, program: Program) -> bool:
    """Whether a checkpoint has all of the state: replay, and of every member."""
    return cfg.checkpoint.replay and members.count(cfg) == program.members


def places(cfg: RunConfig, program: Program) -> dict[str, Any]:
    """The parts of a checkpoint as shapes, and where they are read to.

    A whole state goes straight to the devices that train it, so that none holds more
    than its own members, once; what has to be filled up waits on the host.
    """
    parts_of = partial(parts, cfg)
    abstract = jax.eval_shape(parts_of, shapes(cfg, program))
    if not is_whole(cfg, program):
        return jax.tree.map(checkpoint.on_host, abstract)
    return jax.tree.map(partial(_on, program.sharding), abstract)


def shapes(cfg: RunConfig, program: Program) -> SeedState:
    """The state of all members as shapes, and where they lie; nothing is computed."""
    abstract = jax.eval_shape(program.init, *members.arrays(cfg, program.members))
    return jax.tree.map(partial(_on, program.sharding), abstract)


def _on(sharding: NamedSharding, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def resumed(fresh: SeedState, stored: dict[str, Any]) -> SeedState:
    """A fresh state with what a checkpoint holds in place of its own.

    Args:
        fresh: where the axis of members is longer now, its surplus stays; of a whole
            checkpoint (``is_whole``) ``shapes`` will do.
        stored: parts of a checkpoint.
    """
    acting = stored["acting"]
    found = {
        "key": acting["key"],
        "learner": stored["learner"],
        "worlds": _nested(fresh.worlds, acting["worlds"]),
        "diverged_at": acting["frozen"],
    }
    if "replay" in stored:
        found["replay"] = _nested(fresh.replay, stored["replay"])
    old = {name: getattr(fresh, name) for name in found}
    return fresh._replace(**jax.tree.map(_filled, old, found))


def _filled(fresh: jax.Array, stored: jax.Array) -> jax.Array:
    if len(stored) == len(fresh):  # as nearly always: nothing is copied
        return jax.device_put(stored, fresh.sharding)
    surplus = jax.device_put(fresh[len(stored) :], stored.sharding)
    whole = jnp.concatenate([stored, surplus])
    return jax.device_put(whole, fresh.sharding)


def _flat(record: PyTree) -> PyTree:
    """A record that has ``agents``, with their fields beside its own."""
    if not isinstance(record, Worlds | FreshState):
        return record
    values = record._asdict()
    return {**values.pop("agents")._asdict(), **values}


def _nested(like: PyTree, flat: PyTree) -> PyTree:
    """The inverse of ``_flat``."""
    if not isinstance(like, Worlds | FreshState):
        return flat
    agents = AgentState(*(flat[name] for name in AgentState._fields))
    own = {name: flat[name] for name in like._fields if name != "agents"}
    return like._replace(agents=agents, **own)
