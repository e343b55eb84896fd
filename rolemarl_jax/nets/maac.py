"""MAAC's networks: one policy an agent, and a critic that attends to the others.

Iqbal and Sha 2019, arXiv:1810.02912; sizes of the authors' `utils/policies.py` and
`utils/critics.py`. Inputs are normalised by LayerNorm where the authors use BatchNorm,
whose batch statistics would make an agent's action depend on other worlds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.nets.layers import Heads, Linear, Module
from rolemarl_jax.rng import named
from rolemarl_jax.types import Array, EnvSpec, Key, PyTree


class Leaky(Module):
    """Linear maps with LeakyReLU (0.01) between them.

    Attributes:
        widths: units of each layer, outputs last.
        normalised: how many of the first input features are normalised, without
            learned scale.
        last_linear: whether the last layer has no LeakyReLU.
    """

    widths: tuple[int, ...]
    normalised: int
    last_linear: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., in]` to `[..., widths[-1]]`."""
        if self.normalised:
            head, tail = jnp.split(x, [self.normalised], axis=-1)
            plain = nn.LayerNorm(epsilon=1e-5, use_bias=False, use_scale=False)
            x = jnp.concatenate([plain(head), tail], axis=-1)
        for i, width in enumerate(self.widths):
            x = Linear(width)(x)
            if i + 1 < len(self.widths) or not self.last_linear:
                x = nn.leaky_relu(x)
        return x


@dataclass(frozen=True)
class PerAgent:
    """A network of each agent.

    Attributes:
        init: ``(key, inputs) -> params``, stacked over agents unless shared.
        apply: ``(params, [..., N, in]) -> [..., N, out]``.
    """

    init: Callable[[Key, int], PyTree]
    apply: Callable[[PyTree, Array], Array]


def per_agent(net: nn.Module, n_agents: int, *, shared: bool) -> PerAgent:
    """The same architecture for every agent, with the same or with own weights."""

    def one(key: Key, inputs: int) -> PyTree:
        return net.init(key, jnp.zeros(inputs))

    def many(key: Key, inputs: int) -> PyTree:
        return jax.vmap(lambda k: one(k, inputs))(jax.random.split(key, n_agents))

    apply: Any = net.apply
    if shared:
        return PerAgent(one, apply)
    apply = jax.vmap(apply, in_axes=(0, -2), out_axes=-2)
    return PerAgent(many, apply)


class Others(Module):
    """Each agent's attention over the others (MAAC eq. 5 and 6).

    Keys, values and selectors are shared by all agents; values pass a LeakyReLU.

    Attributes:
        heads: of the attention; divides ``width``.
        width: of all heads together.
    """

    heads: int
    width: int

    @nn.compact
    def __call__(self, own: Array, acted: Array) -> tuple[Array, Array]:
        """Attends from `[..., N, H]` to the other rows of `[..., N, H]`.

        Returns:
            What each agent gets, `[..., N, width]`, and the unscaled attention logits
            `[..., heads, N, N]`, zero for an agent itself.
        """
        q = Heads(self.heads, self.width, use_bias=False, name="selector")(own)
        k = Heads(self.heads, self.width, use_bias=False, name="key")(acted)
        v = Heads(self.heads, self.width, name="value")(acted)
        mixed, logits = zip(*map(_attend, q, k, v), strict=True)
        return jnp.concatenate(mixed, axis=-1), jnp.stack(logits, axis=-3)


def _attend(query: Array, key: Array, value: Array) -> tuple[Array, Array]:
    """One head of ``Others``, `[..., N, D]` each."""
    logits = jnp.einsum("...id,...jd->...ij", query, key)
    me = jnp.eye(query.shape[-2], dtype=bool)
    weight = jax.nn.softmax(logits / query.shape[-1] ** 0.5, where=~me)
    mixed = jnp.einsum("...ij,...jd->...id", weight, nn.leaky_relu(value))
    return mixed, jnp.where(me, 0.0, logits)


@dataclass(frozen=True)
class Networks:
    """All networks of MAAC as functions.

    Attributes:
        init: ``key -> {policy, critic_own, critic_shared}``; the last group holds what
            the losses of all agents reach.
        logits: ``(policy params, obs [..., N, O]) -> [..., N, A]``.
        values: ``(params, obs [..., N, O], actions [..., N]) -> (action values
            [..., N, A], attention logits [..., heads, N, N])``: of each agent's actions
            given what the others see and do; its own action plays no part (eq. 4).
    """

    init: Callable[[Key], dict[str, PyTree]]
    logits: Callable[[PyTree, Array], Array]
    values: Callable[[PyTree, Array, Array], tuple[Array, Array]]


def make_networks(
    spec: EnvSpec, widths: tuple[int, ...], width: int, heads: int, *, shared: bool
) -> Networks:
    """Networks for one world.

    Args:
        widths: hidden layers of a policy. width: units of the critic's layers.
        heads: of its attention. shared: whether agents share weights; they then read
            their index besides the observation.
    """
    n, size = spec.n_agents, spec.obs_dim

    def each(
        widths: tuple[int, ...], normalised: int, *, last_linear: bool
    ) -> PerAgent:
        net = Leaky(widths, normalised, last_linear=last_linear)
        return per_agent(net, n, shared=shared)

    policy = each((*widths, spec.n_actions), size, last_linear=True)
    own = each((width,), size, last_linear=False)
    acted = each((width,), size, last_linear=False)
    head = each((width, spec.n_actions), 0, last_linear=True)
    others = Others(heads, width)
    inputs = size + (n if shared else 0)

    def init(key: Key) -> dict[str, PyTree]:
        rows = jnp.zeros((n, width))
        return {
            "policy": policy.init(named(key, "policy"), inputs),
            "critic_own": {
                "state": own.init(named(key, "state"), inputs),
                "head": head.init(named(key, "head"), 2 * width),
            },
            "critic_shared": {
                "action": acted.init(named(key, "action"), inputs + spec.n_actions),
                "attention": others.init(named(key, "attention"), rows, rows),
            },
        }

    def see(obs: Array) -> Array:
        if not shared:
            return obs
        ids = jnp.broadcast_to(jnp.eye(n), (*obs.shape[:-1], n))
        return jnp.concatenate([obs, ids], axis=-1)

    def values(params: PyTree, obs: Array, action: Array) -> tuple[Array, Array]:
        seen, common = see(obs), params["critic_shared"]
        did = jnp.concatenate([seen, jax.nn.one_hot(action, spec.n_actions)], axis=-1)
        mine = own.apply(params["critic_own"]["state"], seen)
        theirs = acted.apply(common["action"], did)
        mixed, logits = others.apply(common["attention"], mine, theirs)
        both = jnp.concatenate([mine, mixed], axis=-1)
        found = head.apply(params["critic_own"]["head"], both)
        return found.astype(jnp.float32), logits.astype(jnp.float32)

    def choose(params: PyTree, obs: Array) -> Array:
        return policy.apply(params, see(obs)).astype(jnp.float32)

    return Networks(init, choose, values)
