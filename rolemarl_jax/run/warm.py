"""Experiments that begin with the parameters of another run (key ``init_from``)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.learners.parts import average
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.run import stored
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Array, EnvSpec, LearnerState, PyTree

LISTED = 8  # parameters that a message names


def begun(cfg: RunConfig, learner: Learner, spec: EnvSpec) -> Learner:
    """The learner, whose experiments begin where another run ended, if one is named.

    Seed ids decide: an experiment takes the parameters of the same seed, and where
    there are more experiments than stored seeds, these are taken in turn. Targets begin
    as copies, and so does a mean of the parameters where the other run has none; what
    else is kept beside the parameters is taken where it fits; optimisers begin anew. A
    run that goes on from a checkpoint of its own needs nothing of it.

    Args:
        cfg: of the new run.
        learner: made from ``cfg.algo``.
        spec: of the world that the other run was trained in.

    Raises:
        ConfigError: no such run, or parameters of other names or shapes.
    """
    if cfg.init_from is None or goes_on(cfg):
        return learner
    source, found = _stored(cfg.init_from, spec)
    key = jax.eval_shape(lambda: jax.random.key(0))
    fresh = jax.eval_shape(learner.init, key)
    _require_alike(cfg.init_from, _one(found.params), fresh.params)

    def start(seed: Array, state: LearnerState) -> LearnerState:
        at = (seed - source.seed) % source.seeds
        own = jax.tree.map(lambda x: jnp.asarray(x)[at], found)
        params = {name: own.params[name] for name in state.params}
        state = state._replace(
            params=params,
            target=jax.tree.map(jnp.copy, {g: params[g] for g in state.target}),
            aux=_taken(state.aux, own.aux),
        )
        return state if average.AVERAGE in own.aux else average.begun(state)

    return replace(learner, start=start)


def goes_on(cfg: RunConfig) -> bool:
    """Whether the run has a checkpoint of its own, and needs no other run."""
    own = Path(cfg.run_dir) / rundir.CHECKPOINTS
    return cfg.resume and checkpoint.latest(own) is not None


def _stored(run_dir: str, spec: EnvSpec) -> tuple[RunConfig, LearnerState]:
    """Configuration and learners `[seeds, ...]` of a run, those of its chunks together.

    Raises:
        ConfigError: no such run, one with swept hyper-parameters, or no checkpoint.
    """
    try:
        cfg = rundir.load_config(run_dir)
        if cfg.sweep.hypers:
            raise ConfigError(
                f"'{run_dir}' swept {', '.join(cfg.sweep.hypers)}; allowed: runs "
                "without sweep.hypers"
            )
        learner = make_learner(cfg.algo, spec)
        parts = [rundir.load_config(part) for part in rundir.folders(run_dir)]
        states = [stored.load_states(p, learner).state["learner"] for p in parts]
    except ConfigError as error:
        raise ConfigError(f"init_from: {error}") from None
    first = replace(cfg, seeds=sum(members.count(part) for part in parts))
    return first, jax.tree.map(lambda *x: jnp.concatenate(x), *states)


def _one(states: PyTree) -> PyTree:
    """Shapes of one seed's own."""
    return jax.eval_shape(lambda tree: jax.tree.map(lambda x: x[0], tree), states)


def _require_alike(
    run_dir: str, found: Mapping[str, Any], needed: Mapping[str, Any]
) -> None:
    """Refuses parameters that are not there, or have another shape."""
    have, lines = _shapes(found), []
    for name, shape in _shapes(needed).items():
        got = have.get(name)
        if got != shape:
            there = "none" if got is None else f"{list(got)}"
            lines.append(f"{name}: stored {there}, needed {list(shape)}")
    if lines:
        more = f"\nand {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        raise ConfigError(
            f"init_from: '{run_dir}' has other parameters than this run; allowed: runs "
            "whose networks and world have the same sizes\n"
            + "\n".join(lines[:LISTED])
            + more
        )


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Shapes of leaves by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): leaf.shape for path, leaf in leaves}


def _taken(fresh: PyTree, stored_aux: PyTree) -> PyTree:
    """Fresh leaves, those of the other run in place of what has its name and shape."""
    known = {
        _name(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(stored_aux)
    }

    def chosen(path: Any, leaf: Array) -> Array:
        other = known.get(_name(path), leaf)
        fits = (other.shape, other.dtype) == (leaf.shape, leaf.dtype)
        return other if fits else leaf

    return jax.tree_util.tree_map_with_path(chosen, fresh)


def _name(path: Any) -> str:
    """``agent/params/Linear_0/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
