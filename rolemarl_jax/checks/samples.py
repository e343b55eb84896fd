"""Experience that nobody has had, for learners to be tried on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.learners.parts.check import batch_shapes, trajectory_shapes
from rolemarl_jax.learners.parts.learner import Experience, Learner
from rolemarl_jax.types import Array, EnvSpec, Inputs

STEPS, ROWS = 6, 8


def experience(learner: Learner, seed: int = 0) -> Experience:
    """What the learner's ``update`` reads, drawn by chance: all steps are real.

    Two episodes a row, the first of which ends in its middle.
    """
    spec = learner.spec
    rows = learner.minibatch or ROWS
    if learner.experience == "fresh":
        shapes: Any = trajectory_shapes(spec, learner.carry, STEPS, rows)
    else:
        shapes = batch_shapes(spec, STEPS, rows)
    draws = np.random.default_rng(seed)
    drawn = jax.tree.map(lambda shape: _drawn(draws, shape), shapes)
    begins = np.zeros(drawn.reset.shape, bool)
    begins[[0, STEPS // 2]] = True
    terminated = np.zeros((STEPS, rows), bool)
    terminated[STEPS // 2 - 1] = True
    last = np.concatenate([drawn.action[:1], drawn.action])[: len(begins)]
    drawn = drawn._replace(
        reset=begins,
        terminated=terminated,
        truncated=np.zeros((STEPS, rows), bool),
        last_action=np.where(begins[..., None], -1, last % spec.n_actions),
        action=drawn.action % spec.n_actions,
        mask=np.ones((STEPS, rows), np.float32),
    )
    if learner.experience == "fresh":
        # Nothing was cut but by the end of the block.
        drawn = drawn._replace(final_at=np.full((1, rows), STEPS - 1, np.int32))
    return jax.tree.map(jnp.asarray, drawn)


def inputs(spec: EnvSpec, seed: int = 0) -> Inputs:
    """What a policy reads, of two rows with an episode's beginning in the middle."""
    draws = np.random.default_rng(seed)
    shape = (STEPS, 2, spec.n_agents)
    begins = np.zeros(shape[:2], bool)
    begins[[0, STEPS // 2]] = True
    action = draws.integers(0, spec.n_actions, shape).astype(np.int32)
    return Inputs(
        obs=jnp.asarray(draws.normal(size=(*shape, spec.obs_dim)), jnp.float32),
        last_action=jnp.where(begins[..., None], -1, action),
        reset=jnp.asarray(begins),
    )


def _drawn(draws: np.random.Generator, shape: Any) -> Array | np.ndarray:
    """One array of a shape: normal numbers, small whole ones, or true everywhere."""
    if shape.dtype == jnp.bool_:
        return np.ones(shape.shape, bool)
    if jnp.issubdtype(shape.dtype, jnp.integer):
        return draws.integers(0, 1000, shape.shape).astype(np.int32)
    return draws.normal(size=shape.shape).astype(np.float32)
