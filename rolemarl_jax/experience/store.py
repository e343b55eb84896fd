"""What replay keeps of a world: its packed state, or what was seen of it.

``packed`` world states are re-rendered when sampled, ``observations`` are kept as they
were seen, what is 0 or 1 as a bit. Both give bit-identical batches.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import (
    Array,
    Env,
    EnvSpec,
    EnvState,
    Observation,
    PyTree,
    shaped,
)


@dataclass(frozen=True)
class Store:
    """How a world is kept.

    Attributes:
        name: ``packed`` or ``observations``.
        encode: when written; of ``observations``, what was seen.
        decode: when sampled.
        form: shapes and types of one world's stored form.
    """

    name: str
    encode: Callable[[EnvState], PyTree]
    decode: Callable[[PyTree], Observation]
    form: PyTree


def make_store(name: str, env: Env) -> Store:
    """The named store, or the one that takes fewer bytes a step for ``auto``."""

    def form(encode: Callable[[EnvState], PyTree]) -> PyTree:
        return jax.eval_shape(lambda key: encode(env.reset(key)), jax.random.key(0))

    def rendered(world: PyTree) -> Observation:
        return env.observe(env.unpack(world))

    seen = observation_store(env.spec)
    observed = replace(seen, encode=lambda world: seen.encode(env.observe(world)))
    packed = Store("packed", env.pack, rendered, form(env.pack))
    stores = {store.name: store for store in (packed, observed)}
    if name in stores:
        return stores[name]
    return min(stores.values(), key=lambda store: tree_bytes(store.form))


class Kept(NamedTuple):
    """What was seen of one world, without loss.

    Attributes:
        obs: features of agents that are no flags `[N, O - F]` float32.
        state: those of the state `[S - G]` float32.
        bits: available actions, flags of agents and of the state, in this order,
            eight a byte `[ceil((N A + N F + G) / 8)]` uint8.
    """

    obs: Array
    state: Array
    bits: Array


def observation_store(spec: EnvSpec) -> Store:
    """Keeps what was seen, of worlds that are nothing but their observation."""
    obs, state = (
        _Columns(size, flags)
        for size, flags in (
            (spec.obs_dim, spec.obs_flags),
            (spec.state_dim, spec.state_flags),
        )
    )
    shapes = (
        (spec.n_agents, spec.n_actions),
        (spec.n_agents, len(spec.obs_flags)),
        (len(spec.state_flags),),
    )
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])

    def encode(seen: Observation) -> Kept:
        flags = (seen.avail, obs.flags(seen.obs), state.flags(seen.state))
        bits = jnp.concatenate([x.reshape(-1) for x in flags])
        return Kept(obs.rest(seen.obs), state.rest(seen.state), jnp.packbits(bits))

    def decode(kept: Kept) -> Observation:
        bits = jnp.unpackbits(kept.bits, count=int(ends[-1])).astype(bool)
        parts = jnp.split(bits, ends[:-1])
        avail, of_obs, of_state = (
            x.reshape(shape) for x, shape in zip(parts, shapes, strict=True)
        )
        return Observation(
            obs.joined(kept.obs, of_obs), state.joined(kept.state, of_state), avail
        )

    form = jax.eval_shape(
        encode,
        Observation(
            obs=shaped((spec.n_agents, spec.obs_dim), jnp.float32),
            state=shaped((spec.state_dim,), jnp.float32),
            avail=shaped((spec.n_agents, spec.n_actions), jnp.bool_),
        ),
    )
    return Store("observations", encode, decode, form)


class _Columns:
    """Features `[..., size]`, parted into flags and the rest, and joined again."""

    def __init__(self, size: int, flags: tuple[int, ...]) -> None:
        self._flags = np.asarray(flags, int)
        self._rest = np.setdiff1d(np.arange(size), self._flags)
        self._order = np.argsort(np.concatenate([self._rest, self._flags]))

    def flags(self, x: Array) -> Array:
        return x[..., self._flags] != 0

    def rest(self, x: Array) -> Array:
        return x[..., self._rest] if self._flags.size else x

    def joined(self, rest: Array, flags: Array) -> Array:
        if not self._flags.size:
            return rest
        whole = jnp.concatenate([rest, flags.astype(rest.dtype)], axis=-1)
        return whole[..., self._order]
