"""Mixing networks: from the agents' chosen values to the team's.

A ``Mixer`` is a record of functions over the parameter groups that it owns, so
that a learner does not know which one it holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, Positive, Size, build, config, require_name
from rolemarl_jax.nets.attention import (
    AttentionContext,
    StateEncoder,
    attended_roles,
)
from rolemarl_jax.nets.layers import MLP, Linear, Module, Standardise
from rolemarl_jax.rng import named
from rolemarl_jax.types import Array, EnvSpec, Key, PyTree

ENCODER = "state_encoder"  # parameter group


@dataclass(frozen=True)
class Mixer:
    """A way to mix.

    Attributes:
        init: ``(key, feats) -> {group: params}``; of the role features, arrays or
            shapes by name, only widths count.
        groups: parameter groups that the TD loss trains.
        target_groups: groups of which the target network keeps its own copy.
        encode: ``(params, state [T, B, S], reset [T, B])`` to what mixing reads of the
            state, which does not depend on anybody's values.
        mix: ``(params, qs [T, B, N], encoded, feats)`` to the team's value `[T, B]`, or
            `[T, B, N]` where agents learn alone.
        encoders: those of ``groups`` that ``encode`` reads.
        attention: ``(params, state [T, B, S], reset [T, B], roles [T, B, N, Z])`` to
            what each of H heads gives each role, `[T, B, H, N, N]`; ``None`` where
            there are no heads.
    """

    init: Callable[[Key, Mapping[str, Any]], dict[str, PyTree]]
    groups: tuple[str, ...]
    target_groups: tuple[str, ...]
    encode: Callable[[PyTree, Array, Array], PyTree]
    mix: Callable[[PyTree, Array, PyTree, Mapping[str, Array]], Array]
    encoders: tuple[str, ...] = ()
    attention: Callable[[PyTree, Array, Array, Array], Array] | None = None


@config
class PlainConfig:
    """Mixers without parameters.

    Attributes:
        name: ``none`` (IQL) or ``vdn``.
    """

    name: str


@config
class QmixConfig:
    """QMIX's mixer.

    Attributes:
        name: ``qmix``.
        normed: LayerNorm of what hypernetworks read.
        embed: width of the mixing layer.
        hypernet_layers: of each hypernetwork, 1 (ROMA's repository) or 2.
        hypernet_hidden: width of the first of two.
    """

    name: str
    normed: bool
    embed: Size
    hypernet_layers: Positive
    hypernet_hidden: Size


@config
class RecurrentConfig:
    """ACORM's mixer without attention (its ablation): QMIX on an encoded state.

    Attributes:
        name: ``recurrent``.
        normed: LayerNorm of what hypernetworks read.
        embed: width of the mixing layer.
        hypernet_hidden: width of a hypernetwork's hidden layer.
        query: units of the state GRU, an agent.
    """

    name: str
    normed: bool
    embed: Size
    hypernet_hidden: Size
    query: Size


@config
class AttentionConfig:
    """ACORM's attention mixer.

    Attributes:
        name: ``attention``.
        normed: LayerNorm of what hypernetworks read.
        embed: width of the mixing layer.
        hypernet_hidden: width of a hypernetwork's hidden layer.
        query: features of a query, so that the state GRU has N times as many.
        heads: attention heads; divides ``attention``.
        attention: width of all heads together.
        out: features of an attention output.
        own_state_encoder: whether the target network keeps its own state encoder
            (the authors' uses the online one).
    """

    name: str
    normed: bool
    embed: Size
    hypernet_hidden: Size
    query: Size
    heads: Size
    attention: Size
    out: Size
    own_state_encoder: bool


class Monotonic(Module):
    """QMIX's monotonic mixing network (Rashid et al. 2018, arXiv:1803.11485, sec. 4).

    ``Q_tot = |w2(s)| . elu(|W1(s)| q + b1(s)) + v(s)``.

    Attributes:
        embed: width of the mixing layer.
        hypernet: widths of the hidden layers of each hypernetwork of a weight.
        normed: LayerNorm of the context.
    """

    embed: Size
    hypernet: tuple[int, ...]
    normed: bool

    @nn.compact
    def __call__(self, qs: Array, context: Array) -> Array:
        """Mixes `[..., N]` values given `[..., C]` features of the state to `[...]`."""
        n = qs.shape[-1]
        context = Standardise((-1,), name="norm")(context) if self.normed else context
        w1 = jnp.abs(MLP((*self.hypernet, n * self.embed), name="w1")(context))
        w1 = w1.reshape((*qs.shape, self.embed))
        b1 = Linear(self.embed, name="b1")(context)
        hidden = nn.elu(jnp.einsum("...n,...ne->...e", qs, w1) + b1)
        w2 = jnp.abs(MLP((*self.hypernet, self.embed), name="w2")(context))
        value = MLP((self.embed, 1), name="v")(context)[..., 0]
        return (hidden * w2).sum(-1) + value


def _state(_params: PyTree, state: Array, _reset: Array) -> Array:
    """Mixers that read the state as it is."""
    return state


def _none(_: Any, __: EnvSpec) -> Mixer:
    return Mixer(lambda *_: {}, (), (), _state, lambda _p, qs, *_: qs)


def _vdn(_: Any, __: EnvSpec) -> Mixer:
    return Mixer(lambda *_: {}, (), (), _state, lambda _p, qs, *_: qs.sum(-1))


def _qmix(cfg: QmixConfig, spec: EnvSpec) -> Mixer:
    if cfg.hypernet_layers not in (1, 2):
        raise ConfigError(
            f"algo.mixer.hypernet_layers: got {cfg.hypernet_layers}, allowed: 1, 2"
        )
    layers = (cfg.hypernet_hidden,) * (cfg.hypernet_layers - 1)
    net = Monotonic(cfg.embed, layers, cfg.normed)

    def init(key: Key, _: Any) -> dict[str, PyTree]:
        zeros = jnp.zeros((1, spec.n_agents)), jnp.zeros((1, spec.state_dim))
        return {"mixer": net.init(named(key, "mixer"), *zeros)}

    def mix(params: PyTree, qs: Array, state: Array, _: Any) -> Array:
        return net.apply(params["mixer"], qs, state)

    return Mixer(init, ("mixer",), ("mixer",), _state, mix)


def _encoded(
    encoder: StateEncoder, params: PyTree, state: Array, reset: Array
) -> tuple[Array, Array]:
    """Embedding and history of the state, as ``StateEncoder`` returns them."""
    return encoder.apply(params[ENCODER], state, reset)


def _attention(cfg: AttentionConfig, spec: EnvSpec) -> Mixer:
    if cfg.attention % cfg.heads:
        raise ConfigError(
            f"algo.mixer.heads: got {cfg.heads}, which does not divide "
            f"algo.mixer.attention={cfg.attention}"
        )
    encoder = StateEncoder(spec.n_agents, cfg.query)
    attend = AttentionContext(cfg.heads, cfg.attention, cfg.out)
    net = Monotonic(cfg.embed, (cfg.hypernet_hidden,), cfg.normed)
    encode = partial(_encoded, encoder)

    def init(key: Key, feats: Mapping[str, Any]) -> dict[str, PyTree]:
        if "role" not in feats:
            others = ", ".join(name for name in _MIXERS if name != cfg.name)
            raise ConfigError(
                f"algo.mixer.name: got '{cfg.name}', which reads roles, and this "
                f"algorithm has none; allowed: {others}"
            )
        n = spec.n_agents
        state, reset = jnp.zeros((1, 1, spec.state_dim)), jnp.zeros((1, 1), bool)
        query = jnp.zeros((1, n, cfg.query))
        roles = jnp.zeros((1, n, feats["role"].shape[-1]))
        context = jnp.zeros((1, spec.state_dim + n * cfg.out))
        return {
            ENCODER: encoder.init(named(key, ENCODER), state, reset),
            "mixer": {
                "attention": attend.init(named(key, "attention"), query, roles),
                "monotonic": net.init(named(key, "mixer"), jnp.zeros((1, n)), context),
            },
        }

    def mix(
        params: PyTree,
        qs: Array,
        encoded: tuple[Array, Array],
        feats: Mapping[str, Array],
    ) -> Array:
        embedded, query = encoded
        mixer = params["mixer"]
        attended = attend.apply(mixer["attention"], query, feats["role"])
        attended = attended.reshape((*attended.shape[:-2], -1))
        context = jnp.concatenate([embedded, attended], axis=-1)
        return net.apply(mixer["monotonic"], qs, context)

    def weights(params: PyTree, state: Array, reset: Array, roles: Array) -> Array:
        _, query = encode(params, state, reset)
        return attended_roles(attend, params["mixer"]["attention"], query, roles)

    own = (ENCODER,) if cfg.own_state_encoder else ()
    groups = ("mixer", ENCODER)
    return Mixer(init, groups, ("mixer", *own), encode, mix, (ENCODER,), weights)


def _recurrent(cfg: RecurrentConfig, spec: EnvSpec) -> Mixer:
    encoder = StateEncoder(spec.n_agents, cfg.query)
    net = Monotonic(cfg.embed, (cfg.hypernet_hidden,), cfg.normed)
    encode = partial(_encoded, encoder)

    def init(key: Key, _: Any) -> dict[str, PyTree]:
        n = spec.n_agents
        state, reset = jnp.zeros((1, 1, spec.state_dim)), jnp.zeros((1, 1), bool)
        context = jnp.zeros((1, spec.state_dim + n * cfg.query))
        return {
            ENCODER: encoder.init(named(key, ENCODER), state, reset),
            "mixer": net.init(named(key, "mixer"), jnp.zeros((1, n)), context),
        }

    def mix(params: PyTree, qs: Array, encoded: tuple[Array, Array], _: Any) -> Array:
        embedded, history = encoded
        history = history.reshape((*history.shape[:-2], -1))
        context = jnp.concatenate([embedded, history], axis=-1)
        return net.apply(params["mixer"], qs, context)

    groups = ("mixer", ENCODER)
    return Mixer(init, groups, groups, encode, mix, (ENCODER,))


_MIXERS: dict[str, tuple[type, Callable[[Any, EnvSpec], Mixer]]] = {
    "none": (PlainConfig, _none),
    "vdn": (PlainConfig, _vdn),
    "qmix": (QmixConfig, _qmix),
    "recurrent": (RecurrentConfig, _recurrent),
    "attention": (AttentionConfig, _attention),
}


def make_mixer(values: Mapping[str, Any], spec: EnvSpec) -> Mixer:
    """Makes the mixer that ``algo.mixer`` describes.

    Raises:
        ConfigError: unknown name, unknown or ill-typed key, impossible sizes.
    """
    name = require_name("algo.mixer.name", values.get("name"), _MIXERS)
    record, make = _MIXERS[name]
    return make(build(record, values, "algo.mixer"), spec)
