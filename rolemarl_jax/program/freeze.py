"""What becomes of a member whose parameters or losses are no numbers any more."""

import jax
import jax.numpy as jnp

from rolemarl_jax.types import Array, LearnerState, PyTree

GOING_ON = -1
"""Value of ``frozen`` while a member learns."""


def keep_finite(
    old: LearnerState,
    new: LearnerState,
    metrics: dict[str, Array],
    frozen: Array,
    step: Array,
) -> tuple[LearnerState, dict[str, Array], Array]:
    """The new state, or for ever the last one whose numbers were finite.

    Nothing branches, so that members which are batched do not touch each other.

    Args:
        old, new: before and after an update. metrics: that it reported.
        frozen: env step at which learning stopped, or ``GOING_ON``.
        step: env steps that have been made.

    Returns:
        State, metrics (NaN for an update that does not count) and ``frozen``.
    """
    going = frozen == GOING_ON
    fine = all_finite(new.params) & ~exploded(metrics)
    counts = going & fine

    def choose(a: PyTree, b: PyTree) -> PyTree:
        return jax.tree.map(lambda x, y: jnp.where(counts, x, y), a, b)

    kept = LearnerState(
        params=choose(new.params, old.params),
        target=choose(new.target, old.target),
        opt=choose(new.opt, old.opt),
        aux=choose(new.aux, old.aux),
        hypers=new.hypers,
    )
    reported = {name: jnp.where(counts, x, jnp.nan) for name, x in metrics.items()}
    return kept, reported, jnp.where(going & ~fine, step, frozen)


def all_finite(tree: PyTree) -> Array:
    """Whether every number of a tree is finite."""
    leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all()


def exploded(metrics: dict[str, Array]) -> Array:
    """Whether a loss or gradient norm is infinite, or a loss alone is NaN.

    A phase that was not due reports NaN for both. If both are NaN though it was due,
    the parameters are as well.
    """
    bad = [jnp.zeros((), bool)]
    for name, value in metrics.items():
        phase, _, what = name.rpartition("/")
        norm = metrics.get(f"{phase}/grad_norm", value)
        if what.startswith("loss_"):
            bad.append(jnp.isinf(value) | (jnp.isnan(value) & ~jnp.isnan(norm)))
        elif what == "grad_norm":
            bad.append(jnp.isinf(value))
    return jnp.stack(bad).any()
