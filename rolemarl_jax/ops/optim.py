"""Optimisers over named parameter groups, target copies and schedules."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rolemarl_jax.config import ConfigError
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


def _stateless(update: Any) -> optax.GradientTransformation:
    """A transformation that remembers nothing."""

    def init(params: PyTree) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    return optax.GradientTransformation(init, update)


def _clip(groups: set[str], norm: float) -> optax.GradientTransformation:
    """Clips the joint gradient norm of some groups; leaves the others alone."""

    def update(grads: dict[str, PyTree], state: Any, params: Any = None) -> Any:
        del params
        mine = {g: v for g, v in grads.items() if g in groups}
        factor = jnp.minimum(1.0, norm / (optax.tree.norm(mine) + 1e-6))
        clipped = jax.tree.map(lambda x: x * factor, mine)
        return {**grads, **clipped}, state

    return _stateless(update)


def scaled(group: str, factor: float) -> optax.GradientTransformation:
    """Multiplies the gradient of one parameter group."""

    def update(grads: dict[str, PyTree], state: Any, params: Any = None) -> Any:
        del params
        own = jax.tree.map(lambda x: x * factor, grads[group])
        return {**grads, group: own}, state

    return _stateless(update)


def clipped_each(norm: float) -> optax.GradientTransformation:
    """Clips gradient norms along the leading axis, one copy of a network each."""

    def update(grads: PyTree, state: Any, params: Any = None) -> Any:
        del params
        squares = [
            (x**2).reshape(x.shape[0], -1).sum(-1) for x in jax.tree.leaves(grads)
        ]
        factor = jnp.minimum(1.0, norm / (jnp.sqrt(sum(squares)) + 1e-6))
        return jax.tree.map(
            lambda x: x * factor.reshape((-1,) + (1,) * (x.ndim - 1)), grads
        ), state

    return _stateless(update)


def soft_update(target: PyTree, online: PyTree, tau: float | Array) -> PyTree:
    """``target + tau (online - target)`` for every leaf."""
    return jax.tree.map(lambda t, o: t + tau * (o - t), target, online)


def step_decay(rate: float, every: int) -> Callable[[Array], Array]:
    """Learning-rate factor ``rate ** (t // every)`` (PyTorch's StepLR)."""
    return lambda t: jnp.asarray(rate, jnp.float32) ** (t // every)
