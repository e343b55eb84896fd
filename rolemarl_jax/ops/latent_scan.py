"""The recurrence of a recurrent state-space model, laid out for large products.

Only what really depends on the step before is inside the ``lax.scan``: of the input
layer its latent part, the gated unit, and of the posterior its recurrent part. The
gradients of the four weight matrices are one product each after the backward scan
(compare ``ops.scan``).
"""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rolemarl_jax.ops.latent import mixed_log_probs, straight_through
from rolemarl_jax.trees import widened
from rolemarl_jax.types import Array

NORM_EPS = 1e-3
"""Epsilon of every LayerNorm in the world model (DreamerV3)."""


class Norm(NamedTuple):
    """Scale and shift of a LayerNorm."""

    scale: Array  # [F]
    bias: Array  # [F]


class Matrices(NamedTuple):
    """Weights that the scan multiplies with."""

    latent: Array  # [S C, H] latent part of the input layer
    cell: Array  # [H + D, 3 D] gated unit: reset, candidate, update
    deter: Array  # [D, H] recurrent part of the posterior layer
    logits: Array  # [H, S C] posterior head


class Vectors(NamedTuple):
    """The rest of what the scan needs."""

    norm_in: Norm  # [H]
    norm_cell: Norm  # [3 D]
    norm_out: Norm  # [H]
    logits: Array  # [S C] bias of the posterior head
    deter: Array  # [D] state before an episode's first step
    latent: Array  # [S, C] latent before it


class Sequence(NamedTuple):
    """What the scan reads, a row a step; leading axes [T, ...]."""

    into: Array  # [T, ..., H] action and role part of the input layer
    seen: Array  # [T, ..., H] observation part of the posterior layer
    uniform: Array | None  # [T, ..., S] noise of the latents; None takes modes
    reset: Any  # [T, ...] bool with as many axes as fit; None in a cotangent


class Latents(NamedTuple):
    """States along a sequence."""

    deter: Array  # [T, ..., D]
    log_probs: Array  # [T, ..., S, C] posterior, mixed with the uniform
    latent: Array  # [T, ..., S, C] straight-through sample of it


def layer_norm(x: Array, norm: Norm) -> Array:
    """LayerNorm over the last axis of `[..., F]`."""
    chex.assert_shape([norm.scale, norm.bias], x.shape[-1:])
    chex.assert_type([x, *norm], float)
    x = x - x.mean(-1, keepdims=True)
    spread = jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + NORM_EPS)
    return x * spread * norm.scale + norm.bias


def activation(x: Array, norm: Norm) -> Array:
    """LayerNorm over the last axis of `[..., F]`, then SiLU."""
    return jax.nn.silu(layer_norm(x, norm))


def gates(parts: Array, h: Array, norm: Norm) -> Array:
    """Next state of the gated unit, with LayerNorm and an update bias of -1.

    Args:
        parts: `[..., 3 D]` in the order reset, candidate, update. h: `[..., D]`.
    """
    chex.assert_shape(parts, (*h.shape[:-1], 3 * h.shape[-1]))
    chex.assert_type(h, float)
    reset, candidate, update = jnp.split(layer_norm(parts, norm), 3, axis=-1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    update = jax.nn.sigmoid(update - 1.0)
    return update * candidate + (1.0 - update) * h


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def observe(
    unimix: float, matrices: Matrices, vectors: Vectors, sequence: Sequence
) -> Latents:
    """Runs the recurrence over observed sequences.

    ``h_t = gates([x_t, h_{t-1}] W_cell, h_{t-1})``, where ``x_t = silu(LN(into_t +
    s_{t-1} W_latent))``; the posterior over ``s_t`` has logits ``silu(LN(seen_t + h_t
    W_deter)) W_logits + b``. Before a step with ``reset`` the state is the initial one.

    Returns:
        The states after each step.
    """
    return _forward(unimix, matrices, vectors, sequence)[0]


class _Saved(NamedTuple):
    """Results of the products, of which the backward pass derives everything else."""

    into: Array  # [T, ..., H]
    parts: Array  # [T, ..., 3 D]
    seen: Array  # [T, ..., H]
    logits: Array  # [T, ..., S, C]


def _check(matrices: Matrices, vectors: Vectors, sequence: Sequence) -> None:
    """Refuses weights and sequences that do not fit each other."""
    chex.assert_rank([vectors.latent, vectors.deter], [2, 1])
    width, deter = vectors.norm_in.scale.size, vectors.deter.size
    size, cell = vectors.latent.size, (width + deter, 3 * deter)
    shapes = [(size, width), cell, (deter, width), (width, size), (size,)]
    chex.assert_shape([*matrices, vectors.logits], shapes)
    chex.assert_type([*matrices, *jax.tree.leaves(vectors)], float)
    into, seen, uniform, reset = sequence
    chex.assert_shape(into, (None, ..., width))
    chex.assert_equal_shape([into, seen])
    chex.assert_equal_shape_prefix([into, reset], reset.ndim)
    chex.assert_type([into, seen, reset], [float, float, bool])
    if uniform is not None:
        chex.assert_shape(uniform, (*into.shape[:-1], vectors.latent.shape[0]))
        chex.assert_type(uniform, float)


def _draw(logits: Array, uniform: Array | None, unimix: float) -> tuple[Array, Array]:
    """Posterior and its sample."""
    log_probs = mixed_log_probs(logits, unimix)
    return log_probs, straight_through(log_probs, uniform)


def _forward(
    unimix: float, matrices: Matrices, vectors: Vectors, sequence: Sequence
) -> tuple[Latents, tuple]:
    _check(matrices, vectors, sequence)
    first = vectors.latent.reshape(-1)

    def step(
        carry: tuple[Array, Array], now: Sequence
    ) -> tuple[tuple[Array, Array], tuple[Latents, _Saved]]:
        begins = widened(now.reset, carry[0])
        h = jnp.where(begins, vectors.deter, carry[0])
        s = jnp.where(begins, first, carry[1])
        into = now.into + s @ matrices.latent
        x = activation(into, vectors.norm_in)
        parts = jnp.concatenate([x, h], -1) @ matrices.cell
        h = gates(parts, h, vectors.norm_cell)
        seen = now.seen + h @ matrices.deter
        y = activation(seen, vectors.norm_out)
        flat = y @ matrices.logits + vectors.logits
        logits = flat.reshape((*flat.shape[:-1], *vectors.latent.shape))
        log_probs, latent = _draw(logits, now.uniform, unimix)
        saved = _Saved(into, parts, seen, logits)
        carry = h, latent.reshape(flat.shape)
        return carry, (Latents(h, log_probs, latent), saved)

    rows = sequence.into.shape[1:-1]
    start = (
        jnp.broadcast_to(vectors.deter, (*rows, vectors.deter.size)),
        jnp.broadcast_to(first, (*rows, first.size)),
    )
    out, saved = jax.lax.scan(step, start, sequence)[1]
    kept = out.deter, out.latent, sequence.uniform, sequence.reset
    return out, (matrices, vectors, saved, kept)


def _before(x: Array, first: Array, reset: Array) -> Array:
    """States that each step started from, `[T, ..., F]`."""
    shifted = jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])
    # Step 0 starts from the initial state whether or not an episode begins there.
    starts = widened(reset.at[0].set(True), x)
    return jnp.where(starts, first, shifted)


def _backward(unimix: float, residuals: tuple, grad: Latents) -> tuple:
    matrices, vectors, saved, (deter, latent, uniform, reset) = residuals
    latent = latent.reshape((*latent.shape[:-2], -1))
    h_in = _before(deter, vectors.deter, reset)
    start = jnp.zeros_like(deter[0]), jnp.zeros_like(latent[0])
    norms = vectors.norm_in, vectors.norm_cell, vectors.norm_out
    sums = jax.tree.map(jnp.zeros_like, norms)
    step = partial(_backward_step, unimix, matrices, vectors)
    xs = grad, saved, h_in, uniform, reset
    (d_h, d_s, sums), (d_saved, d_before) = jax.lax.scan(
        step, (*start, sums), xs, reverse=True
    )
    x = activation(saved.into, vectors.norm_in)
    y = activation(saved.seen, vectors.norm_out)
    s_in = _before(latent, vectors.latent.reshape(-1), reset)
    d_matrices = Matrices(
        latent=_outer(s_in, d_saved.into),
        cell=jnp.concatenate([_outer(x, d_saved.parts), _outer(h_in, d_saved.parts)]),
        deter=_outer(deter, d_saved.seen),
        logits=_outer(y, d_saved.logits),
    )
    rows = tuple(range(d_h.ndim - 1))
    d_deter, d_latent = (
        resets.sum(0) + left.sum(rows)
        for resets, left in zip(d_before, (d_h, d_s), strict=True)
    )
    d_vectors = Vectors(
        norm_in=sums[0],
        norm_cell=sums[1],
        norm_out=sums[2],
        logits=d_saved.logits.reshape(-1, vectors.logits.size).sum(0),
        deter=d_deter,
        latent=d_latent.reshape(vectors.latent.shape),
    )
    d_sequence = Sequence(d_saved.into, d_saved.seen, None, None)
    return d_matrices, d_vectors, d_sequence


def _backward_step(
    unimix: float, matrices: Matrices, vectors: Vectors, carry: tuple, xs: tuple
) -> tuple[tuple, tuple]:
    """Chain rule through one step, product by product from the last to the first."""
    d_h, d_s, (n_in, n_cell, n_out) = carry
    grad, saved, h_in, uniform, reset = xs
    draw = partial(_draw, uniform=uniform, unimix=unimix)
    d_latent = grad.latent + d_s.reshape(grad.latent.shape)
    (d_logits,) = jax.vjp(draw, saved.logits)[1]((grad.log_probs, d_latent))
    flat = d_logits.reshape(d_s.shape)
    d_seen, d_out = jax.vjp(activation, saved.seen, vectors.norm_out)[1](
        flat @ matrices.logits.T
    )
    d_h = d_h + grad.deter + d_seen @ matrices.deter.T
    d_parts, d_before, d_cell = jax.vjp(gates, saved.parts, h_in, vectors.norm_cell)[1](
        d_h
    )
    d_joint = d_parts @ matrices.cell.T
    width = vectors.norm_in.scale.size
    d_into, d_in = jax.vjp(activation, saved.into, vectors.norm_in)[1](
        d_joint[..., :width]
    )
    d_h = d_before + d_joint[..., width:]
    d_s = d_into @ matrices.latent.T
    sums = jax.tree.map(jnp.add, (n_in, n_cell, n_out), (d_in, d_cell, d_out))
    begins = widened(reset, d_h)
    rows = tuple(range(d_h.ndim - 1))
    to_start = tuple(jnp.where(begins, d, 0.0).sum(rows) for d in (d_h, d_s))
    d_h, d_s = (jnp.where(begins, 0.0, d) for d in (d_h, d_s))
    return (d_h, d_s, sums), (_Saved(d_into, d_parts, d_seen, flat), to_start)


def _outer(x: Array, grad: Array) -> Array:
    """Gradient of W in ``x W``, over all rows at once."""
    return x.reshape(-1, x.shape[-1]).T @ grad.reshape(-1, grad.shape[-1])


observe.defvjp(_forward, _backward)
