"""What becomes of a member whose parameters or losses are no numbers any more."""

import jax
import jax.numpy as jnp

from rolemarl_jax.learners.parts.learner import UpdateOut
from rolemarl_jax.types import Array, LearnerState, PyTree

GOING_ON = -1
"""Value of ``diverged_at`` while a member learns."""


def keep_finite(
    old: LearnerState, new: UpdateOut, diverged_at: Array, step: Array
) -> tuple[LearnerState, dict[str, Array], Array]:
    """The new state, or for ever the last one whose numbers were finite.

    Nothing branches, so that members which are batched do not touch each other.

    Args:
        old: before the update. new: what it left.
        diverged_at: env step at which learning stopped, or ``GOING_ON``.
        step: env steps that have been made.

    Returns:
        State, metrics (NaN for an update that does not count) and ``diverged_at``.
    """
    going = diverged_at == GOING_ON
    fine = new.finite & all_finite(new.state.params)
    counts = going & fine

    def chosen(a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(lambda x, y: jnp.where(counts, x, y), a, b)

    kept = LearnerState(
        params=chosen(new.state.params, old.params),
        target=chosen(new.state.target, old.target),
        opt=chosen(new.state.opt, old.opt),
        aux=chosen(new.state.aux, old.aux),
        hypers=new.state.hypers,
    )
    reported = {n: jnp.where(counts, x, jnp.nan) for n, x in new.metrics.items()}
    return kept, reported, jnp.where(going & ~fine, step, diverged_at)


def all_finite(tree: PyTree) -> Array:
    """Whether every number of a tree is finite."""
    leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all()
