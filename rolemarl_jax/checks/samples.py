"""Experience that nobody has had, for learners to be tried on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.learners.parts.check import batch_shapes, trajectory_shapes
from rolemarl_jax.learners.parts.learner import Experience, Learner
from rolemarl_jax.types import Array, Batch, EnvSpec, Inputs

STEPS, ROWS = 6, 8


def experience(learner: Learner, seed: int = 0, *, padded: bool = True) -> Experience:
    """What the learner's ``update`` reads, drawn by chance.

    Two episodes a row, the first of which ends in its middle. Where a ``Batch`` is
    read, every other row ends early, unless it is not to be ``padded``.
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
    elif padded:
        drawn = _padded(drawn)
    return jax.tree.map(jnp.asarray, drawn)


def _padded(batch: Batch) -> Batch:
    """The batch with every other row ended two steps early, as replay pads it.

    The terminal observation is the last that is there: no step begins with it, and
    what comes after it is nothing.
    """
    short = np.arange(batch.mask.shape[1]) % 2 == 0
    gone = np.arange(STEPS + 1)[:, None] * short > STEPS - 2
    none = gone[1:]  # steps to slots that are not there, and from the terminal one
    ended = np.zeros_like(none)
    ended[STEPS - 3] = short

    def without(x: Any, where: Any, nothing: Any = 0) -> np.ndarray:
        where = where.reshape(where.shape + (1,) * (x.ndim - 2))
        return np.where(where, np.asarray(nothing, x.dtype), x)

    return batch._replace(
        obs=without(batch.obs, gone),
        state=without(batch.state, gone),
        avail=without(batch.avail, gone),
        last_action=without(batch.last_action, gone, -1),
        action=without(batch.action, none),
        reward=without(batch.reward, none),
        terminated=batch.terminated | ended,
        mask=without(batch.mask, none),
    )


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
