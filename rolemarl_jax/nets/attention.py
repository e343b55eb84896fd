"""Attention over roles, as ACORM's mixer uses it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.nets.layers import GRU, Heads, Linear, Module
from rolemarl_jax.types import Array, PyTree

_Residuals = tuple[Array, ...]


class StateEncoder(Module):
    """Embeds the state, and keeps its history in N query vectors.

    ``s~ = relu(Linear(s))``; a GRU over ``s~`` of N x query units gives one query an
    agent (ACORM sec. 2.2; authors' `algorithm/mix_net.py`).

    Attributes:
        n_agents: N.
        query: features of a query.
    """

    n_agents: int
    query: int

    @nn.compact
    def __call__(
        self, state: Array, reset: Array, h0: Array | None = None
    ) -> tuple[Array, Array]:
        """Encodes `[T, B, S]` states, `[T, B]` resets.

        Args:
            h0: `[B, N * query]` history before the first step, zeros if not given.

        Returns:
            State embedding `[T, B, S]` and queries `[T, B, N, query]`.
        """
        embedded = nn.relu(Linear(state.shape[-1])(state))
        if h0 is None:
            h0 = jnp.zeros((state.shape[1], self.n_agents * self.query))
        h = GRU(self.n_agents * self.query)(embedded, h0, reset)
        return embedded, h.reshape((*h.shape[:-1], self.n_agents, self.query))


class AttentionContext(Module):
    """Multi-head attention without residual, norm or mask (ACORM eq. 6 to 8).

    Query and key maps have no bias, the value map has one, as in the authors'
    `util/attention.py`. Dead agents are attended like the living.

    Attributes:
        heads: of the attention; divides ``width``.
        width: of all heads together.
        out: features of an output.
    """

    heads: int
    width: int
    out: int

    @nn.compact
    def __call__(self, query: Array, roles: Array) -> Array:
        """Attends from `[..., N, query]` to `[..., N, Z]`, giving `[..., N, out]`."""
        q = Heads(self.heads, self.width, use_bias=False, name="q")(query)
        k = Heads(self.heads, self.width, use_bias=False, name="k")(roles)
        v = Heads(self.heads, self.width, name="v")(roles)
        if self.is_mutable_collection("intermediates"):
            weights = [_weights(*head) for head in zip(q, k, strict=True)]
            self.sow("intermediates", "weights", jnp.stack(weights, axis=-3))
        mixed = [attend(*head) for head in zip(q, k, v, strict=True)]
        return Linear(self.out, name="o")(jnp.concatenate(mixed, axis=-1))


@jax.custom_vjp
def attend(query: Array, key: Array, value: Array) -> Array:
    """One head's attention, `[..., N, D]` each."""
    return _forward(query, key, value)[0]


def attended_roles(net: Module, params: PyTree, *inputs: Array) -> Array:
    """What each head of the one ``AttentionContext`` in a network gives each role.

    Returns:
        `[..., H, N, N]`, queries before roles; rows sum to 1.
    """
    _, kept = net.apply(params, *inputs, mutable=["intermediates"])
    (weights,) = jax.tree.leaves(kept)
    return weights


def _weights(query: Array, key: Array) -> Array:
    scores = jnp.einsum("...id,...jd->...ij", query, key) / query.shape[-1] ** 0.5
    return jax.nn.softmax(scores.astype(jnp.float32))


def _forward(query: Array, key: Array, value: Array) -> tuple[Array, _Residuals]:
    weight = _weights(query, key)
    mixed = jnp.einsum("...ij,...jd->...id", weight.astype(value.dtype), value)
    return mixed, (query, key, value, weight)


def _backward(saved: _Residuals, grad: Array) -> tuple[Array, ...]:
    query, key, value, weight = saved
    d_weight = jnp.einsum("...id,...jd->...ij", grad, value).astype(weight.dtype)
    inner = d_weight - (weight * d_weight).sum(-1, keepdims=True)
    d_scores = (weight * inner / query.shape[-1] ** 0.5).astype(query.dtype)
    d_query = jnp.einsum("...ij,...jd->...id", d_scores, key)
    # As a sum, because XLA goes through a batch of small transposed products one by
    # one on a CPU, which takes four times as long.
    d_key = (d_scores[..., None] * query[..., :, None, :]).sum(-3)
    d_value = jnp.einsum("...ij,...id->...jd", weight.astype(grad.dtype), grad)
    return d_query, d_key, d_value


attend.defvjp(_forward, _backward)
