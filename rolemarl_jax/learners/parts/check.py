"""Losses and their weights, compared before anything is compiled."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners.parts.learner import with_followers
from rolemarl_jax.roles.parts.method import CarryFn
from rolemarl_jax.roles.parts.phase import Context, Phase
from rolemarl_jax.types import (
    Batch,
    EnvSpec,
    Key,
    LearnerState,
    Observation,
    Trajectory,
    shaped,
)


def check_losses(
    phases: tuple[Phase, ...],
    state: LearnerState,
    batch: Any,
    keys: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuses a loss without a weight, and a weight without a loss.

    Nothing is computed: losses are traced on shapes alone, one phase of each name.

    Args:
        state: shapes of what the losses read besides.
        batch: shapes of what the losses read.
        keys: by phase, the key that holds the weights of its losses; those of other
            phases are the method's own.

    Raises:
        ConfigError: names the losses; or a loss reads what nothing makes.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    for phase in {phase.name: phase for phase in with_followers(phases)}.values():
        losses = set(_traced(phase, state, batch, key))
        weighted = set(phase.scales)
        if losses != weighted:
            where = keys.get(phase.name, f"algo: scales of phase '{phase.name}'")
            raise ConfigError(
                f"{where}: got weights of {_listed(weighted)}; allowed: one for each "
                f"of {_listed(losses)}, which phase '{phase.name}' has (0 leaves one "
                f"out); missing: {_listed(losses - weighted)}; without a loss: "
                f"{_listed(weighted - losses)}"
            )


def _traced(phase: Phase, state: LearnerState, batch: Any, key: Any) -> dict:
    """Shapes of a phase's losses."""

    def losses(state: LearnerState, batch: Any, key: Key) -> dict:
        return phase.loss(state.params, Context(state, batch, key)).losses

    try:
        return jax.eval_shape(losses, state, batch, key)
    except KeyError as error:
        raise ConfigError(
            f"algo: the loss of phase '{phase.name}' reads {error}, which nothing "
            f"makes; parameters: {_listed(state.params)}; aux: {_listed(state.aux)}; "
            f"hyper-parameters: {_listed(state.hypers)}"
        ) from error


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def batch_shapes(spec: EnvSpec, steps: int = 2, rows: int = 2) -> Batch:
    """Shapes of a small ``Batch`` of a world."""
    n, a = spec.n_agents, spec.n_actions
    one, two = (steps, rows), (steps + 1, rows)
    return Batch(
        obs=shaped((*two, n, spec.obs_dim), jnp.float32),
        state=shaped((*two, spec.state_dim), jnp.float32),
        avail=shaped((*two, n, a), jnp.bool_),
        last_action=shaped((*two, n), jnp.int32),
        reset=shaped(two, jnp.bool_),
        action=shaped((*one, n), jnp.int32),
        reward=shaped(one, jnp.float32),
        terminated=shaped(one, jnp.bool_),
        truncated=shaped(one, jnp.bool_),
        mask=shaped(one, jnp.float32),
    )


def trajectory_shapes(
    spec: EnvSpec, carry: CarryFn, steps: int = 2, worlds: int = 2
) -> Trajectory:
    """Shapes of a small ``Trajectory`` of a world."""
    rest = batch_shapes(spec, steps, worlds)
    final = (1, worlds)
    return Trajectory(
        obs=shaped((steps, *rest.obs.shape[1:]), jnp.float32),
        state=shaped((steps, *rest.state.shape[1:]), jnp.float32),
        avail=shaped((steps, *rest.avail.shape[1:]), jnp.bool_),
        last_action=shaped(rest.action.shape, jnp.int32),
        reset=shaped((steps, worlds), jnp.bool_),
        action=rest.action,
        reward=rest.reward,
        terminated=rest.terminated,
        truncated=rest.truncated,
        mask=rest.mask,
        carry=jax.eval_shape(lambda: carry(worlds)),
        final=Observation(
            obs=shaped((*final, *rest.obs.shape[2:]), jnp.float32),
            state=shaped((*final, *rest.state.shape[2:]), jnp.float32),
            avail=shaped((*final, *rest.avail.shape[2:]), jnp.bool_),
        ),
        final_at=shaped(final, jnp.int32),
    )
