"""The recurrence of a recurrent state-space model, laid out for large products.

Only what really depends on the step before is inside the ``lax.scan``: of the input
layer its latent part, the gated unit, and of the posterior its recurrent part. The
gradients of the four weight matrices are one product each after the backward scan
(compare ``ops.scan``).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.ops.latent import mixed_log_probs, straight_through
from rolemarl_jax.types import Array

NORM_EPS = 1e-3
"""Epsilon of every LayerNorm in the world model (DreamerV3)."""


class Norm(NamedTuple):
    """Scale and shift of a LayerNorm, `[F]` each."""

    scale: Array
    bias: Array


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
    reset: Array  # [T, ...] bool with as many axes as fit


class Latents(NamedTuple):
    """States along a sequence."""

    deter: Array  # [T, ..., D]
    log_probs: Array  # [T, ..., S, C] posterior, mixed with the uniform
    latent: Array  # [T, ..., S, C] straight-through sample of it


def layer_norm(x: Array, norm: Norm) -> Array:
    """LayerNorm over the last axis."""
    x = x - x.mean(-1, keepdims=True)
    spread = jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + NORM_EPS)
    return x * spread * norm.scale + norm.bias


def activation(x: Array, norm: Norm) -> Array:
    """LayerNorm, then SiLU."""
    return jax.nn.silu(layer_norm(x, norm))


def gates(parts: Array, h: Array, norm: Norm) -> Array:
    """Next state of the gated unit, with LayerNorm and an update bias of -1.

    Args:
        parts: `[..., 3 D]` in the order reset, candidate, update. h: `[..., D]`.
    """
    reset, candidate, update = jnp.split(layer_norm(parts, norm), 3, axis=-1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    update = jax.nn.sigmoid(update - 1.0)
    return update * candidate + (1.0 - update) * h


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def observe(
    unimix: float, matrices: Matrices, vectors: Vectors, sequence: Sequence
) -> Latents:
    """Runs the recurrence over observed sequences.

    ``h_t = gates([x_t, h_{t-1}] W_cell, h_{t-1})`` with ``x_t = silu(LN(into_t + s_{t-1}
    W_latent))``; the posterior over ``s_t`` has logits ``silu(LN(seen_t + h_t W_deter))
    W_logits + b``. Before a step with ``reset`` the state is the initial one.

    Returns:
        The states after each step.
    """
    return _run(unimix, matrices, vectors, sequence, _no_taps(matrices, sequence))[0]


class _Taps(NamedTuple):
    """Zeros added to products, so that their gradients can be had step by step."""

    cell: Array
    logits: Array


class _Factors(NamedTuple):
    """Left factors of the products, for the gradients of the right ones."""

    latent: Array
    cell: Array
    logits: Array


def _no_taps(matrices: Matrices, sequence: Sequence) -> _Taps:
    leading = sequence.into.shape[:-1]
    return _Taps(
        jnp.zeros((*leading, matrices.cell.shape[1])),
        jnp.zeros((*leading, matrices.logits.shape[1])),
    )


@jax.custom_vjp
def _tap(x: Array, tap: Array) -> Array:
    """``x + tap`` for a tap that is zero, without the addition."""
    del tap
    return x


_tap.defvjp(lambda x, tap: (x, None), lambda _, grad: (grad, grad))


def _run(
    unimix: float,
    matrices: Matrices,
    vectors: Vectors,
    sequence: Sequence,
    taps: _Taps,
) -> tuple[Latents, _Factors]:
    first = vectors.latent.reshape(-1)
    light = partial(jax.checkpoint, prevent_cse=False)
    act, move = light(activation), light(gates)

    def step(
        carry: tuple[Array, Array], xs: tuple[Sequence, _Taps]
    ) -> tuple[tuple[Array, Array], tuple[Latents, _Factors]]:
        now, tap = xs
        begins = now.reset.reshape(
            now.reset.shape + (1,) * (carry[0].ndim - now.reset.ndim)
        )
        h = jnp.where(begins, vectors.deter, carry[0])
        s = jnp.where(begins, first, carry[1])
        x = act(now.into + s @ matrices.latent, vectors.norm_in)
        joint = jnp.concatenate([x, h], -1)
        h = move(_tap(joint @ matrices.cell, tap.cell), h, vectors.norm_cell)
        y = act(now.seen + h @ matrices.deter, vectors.norm_out)
        logits = _tap(y @ matrices.logits, tap.logits) + vectors.logits
        shaped = logits.reshape((*logits.shape[:-1], *vectors.latent.shape))
        latent = Latents(h, *_draw(shaped, now.uniform, unimix))
        carry = h, latent.latent.reshape(logits.shape)
        return carry, (latent, _Factors(s, joint, y))

    rows = sequence.into.shape[1:-1]
    start = (
        jnp.broadcast_to(vectors.deter, (*rows, vectors.deter.size)),
        jnp.broadcast_to(first, (*rows, first.size)),
    )
    return jax.lax.scan(step, start, (sequence, taps))[1]


def _draw(logits: Array, uniform: Array | None, unimix: float) -> tuple[Array, Array]:
    log_probs = mixed_log_probs(logits, unimix)
    return log_probs, straight_through(log_probs, uniform)


def _forward(
    unimix: float, matrices: Matrices, vectors: Vectors, sequence: Sequence
) -> tuple[Latents, tuple]:
    def run(vectors: Vectors, into: Array, seen: Array, taps: _Taps) -> tuple:
        changed = sequence._replace(into=into, seen=seen)
        return _run(unimix, matrices, vectors, changed, taps)

    taps = _no_taps(matrices, sequence)
    out, back, factors = jax.vjp(
        run, vectors, sequence.into, sequence.seen, taps, has_aux=True
    )
    return out, (back, factors, out.deter)


def _backward(unimix: float, residuals: tuple, grad: Latents) -> tuple:
    del unimix
    back, factors, deter = residuals
    vectors, into, seen, taps = back(grad)
    matrices = Matrices(
        latent=_outer(factors.latent, into),
        cell=_outer(factors.cell, taps.cell),
        deter=_outer(deter, seen),
        logits=_outer(factors.logits, taps.logits),
    )
    return matrices, vectors, Sequence(into, seen, None, None)


def _outer(x: Array, grad: Array) -> Array:
    """Gradient of W in ``x W``, over all rows at once."""
    return x.reshape(-1, x.shape[-1]).T @ grad.reshape(-1, grad.shape[-1])


observe.defvjp(_forward, _backward)
