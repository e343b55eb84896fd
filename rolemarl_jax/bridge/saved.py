"""Training of a run over the bridge: fresh, saved, and taken up again."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from rolemarl_jax import rng
from rolemarl_jax.bridge.blocks import Blocks
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.bridge.ledger import Ledger
from rolemarl_jax.bridge.training import (
    Counters,
    Replayed,
    Steps,
    make_kept,
    require_room,
)
from rolemarl_jax.experience.memory import check_sampling
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.run import saved as run_saved
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import EnvSpec, LearnerState, PyTree

Training = Replayed | Blocks


class Begun(NamedTuple):
    """A run that is ready to go on.

    Attributes:
        training: with all that was learned and kept.
        ledger: with all that was done.
        note: empty, or what a resumed run had to put up with.
    """

    training: Training
    ledger: Ledger
    note: str


def begin(
    cfg: RunConfig, bridge: BridgeConfig, spec: EnvSpec, learner: Learner
) -> Begun:
    """A fresh run, or that of the last whole checkpoint.

    Raises:
        ConfigError: numbers that do not fit each other; nothing to resume from.
    """
    check_sampling(cfg, learner)
    make = partial(_make_training, cfg, bridge, spec, learner)
    key = rng.root(cfg.seed)
    state = jax.jit(partial(initial_learner, learner))(cfg.seed)
    fresh = Steps(learner, key, state, Counters())
    if not cfg.resume:
        return Begun(make(fresh), Ledger(), "")
    # Shapes alone: with a replay beside the stored one there would be two.
    abstract = jax.eval_shape(
        partial(parts, cfg, state, memory_shapes(cfg, spec, learner))
    )
    restored = run_saved.restore(cfg, abstract)
    meta, note = restored.meta, restored.note
    if not restored.state:
        return Begun(make(fresh), Ledger(), note)
    stored = dict(restored.state)
    stored["learner"] = jax.tree.map(lambda x: x[0], stored["learner"])
    if "replay" not in stored:
        note += " replay was not saved: it fills again before updates go on."
    steps = Steps(learner, key, stored["learner"], Counters(*meta["counters"]))
    ledger = Ledger(
        env_steps=meta["env_steps"],
        episodes=meta["iterations"],
        seconds=meta["wall_s"],
        earlier=meta["bridge"],
        owes_test=meta.get("owes_test", False),
    )
    return Begun(make(steps, stored.get("replay")), ledger, note.strip())


def save(
    cfg: RunConfig, training: Training, ledger: Ledger, totals: Mapping[str, int]
) -> None:
    """Writes a checkpoint, once all updates that are due have been made.

    Args:
        cfg: of the run.
        training: of the run.
        ledger: of the run.
        totals: restarts and aborts, earlier processes included.
    """
    training.drain()
    run_saved.save(
        cfg,
        parts(cfg, training.steps.latest, training.memory),
        env_steps=ledger.env_steps,
        iterations=ledger.episodes,
        wall_s=ledger.wall_s(),
        more={
            "counters": list(training.steps.counters),
            "bridge": dict(totals),
            "owes_test": ledger.owes_test,
        },
    )


def parts(cfg: RunConfig, state: LearnerState, memory: PyTree) -> dict[str, Any]:
    """Parts of a checkpoint, with a seed axis of one as native runs have.

    Args:
        cfg: of the run.
        state: of the learner.
        memory: contents of the replay, which have that axis; or ``None``.
    """
    own = {"learner": state, "acting": {"key": rng.root(cfg.seed)}}
    kept = jax.tree.map(lambda x: x[None], own)
    saves = cfg.checkpoint.replay and memory is not None
    return {**kept, "replay": memory} if saves else kept


def memory_shapes(cfg: RunConfig, spec: EnvSpec, learner: Learner) -> PyTree:
    """Shapes of what replay keeps; ``None`` for a learner without one.

    Raises:
        ConfigError: the machine cannot hold it.
    """
    if learner.experience == "fresh":
        return None
    kept = make_kept(cfg, spec)
    require_room(cfg, kept)
    return jax.eval_shape(kept.init)


def _make_training(
    cfg: RunConfig,
    bridge: BridgeConfig,
    spec: EnvSpec,
    learner: Learner,
    steps: Steps,
    memory: PyTree = None,
) -> Training:
    """As the learner asks for it, with what replay holds already."""
    if learner.experience != "replay":
        return Blocks(cfg, steps, spec, learner)
    return Replayed(cfg, steps, spec, bridge.updates_per_episode, memory)
