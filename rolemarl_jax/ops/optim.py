"""Optimisers over named parameter groups, target copies and schedules."""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from rolemarl_jax.config import ConfigError
from rolemarl_jax.trees import widened
from rolemarl_jax.types import Array, PyTree


def optimiser(
    name: str,
    eps: float,
    clips: Mapping[tuple[str, ...], float],
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Gradient transformation without learning rate.

    Args:
        name: ``adam`` or ``rmsprop`` (PyTorch's form, epsilon outside the root,
            decay 0.99). eps: its epsilon.
        clips: sets of parameter groups and the norm at which each set's gradient is
            clipped; groups in no set are not clipped.
        weight_decay: times the parameters, added to the clipped gradient (PyTorch's
            Adam, not AdamW).
    """
    if name not in ("adam", "rmsprop"):
        raise ConfigError(f"algo.optimiser: got '{name}', allowed: adam, rmsprop")
    scale = (
        optax.scale_by_adam(eps=eps)
        if name == "adam"
        else optax.scale_by_rms(decay=0.99, eps=eps, eps_in_sqrt=False)
    )
    clipped = [_clip(set(g), c) for g, c in clips.items()]
    decayed = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    return optax.chain(*clipped, *decayed, scale)


def _clip(groups: set[str], norm: float) -> optax.GradientTransformation:
    """Clips the joint gradient norm of some groups; leaves the others alone."""

    def clip(grads: Any, _: Any) -> PyTree:
        mine = {g: v for g, v in grads.items() if g in groups}
        factor = jnp.minimum(1.0, norm / (optax.tree.norm(mine) + 1e-6))
        return {**grads, **jax.tree.map(lambda x: x * factor, mine)}

    return optax.stateless(clip)


def scaled(group: str, factor: float) -> optax.GradientTransformation:
    """Multiplies the gradient of one parameter group."""

    def scale(grads: Any, _: Any) -> PyTree:
        return {**grads, group: jax.tree.map(lambda x: x * factor, grads[group])}

    return optax.stateless(scale)


def clipped_each(norm: float) -> optax.GradientTransformation:
    """Clips gradient norms along the leading axis, one copy of a network each.

    All leaves are `[N, ...]`.
    """

    def clip(grads: Any, _: Any) -> PyTree:
        leaves = jax.tree.leaves(grads)
        chex.assert_shape(leaves, (leaves[0].shape[0], ...))
        squares = [(x**2).reshape(x.shape[0], -1).sum(-1) for x in leaves]
        factor = jnp.minimum(1.0, norm / (jnp.sqrt(sum(squares)) + 1e-6))
        return jax.tree.map(lambda x: x * widened(factor, x), grads)

    return optax.stateless(clip)


def soft_update(target: PyTree, online: PyTree, tau: float | Array) -> PyTree:
    """``target + tau (online - target)`` for every leaf `[...]`, alike in both."""
    chex.assert_trees_all_equal_shapes_and_dtypes(target, online)
    chex.assert_rank(tau, 0)
    return jax.tree.map(lambda t, o: t + tau * (o - t), target, online)


def step_decay(rate: float, every: int) -> Callable[[Array], Array]:
    """Learning-rate factor ``rate ** (t // every)`` (PyTorch's StepLR)."""

    def factor(t: Array) -> Array:
        chex.assert_rank(t, 0)
        chex.assert_type(t, int)
        return jnp.asarray(rate, jnp.float32) ** (t // every)

    return factor
