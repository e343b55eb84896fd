"""What replay keeps of a world: its packed state, or what was seen of it.

``packed`` world states are re-rendered when sampled, ``observations`` are kept as they
were seen. Both give bit-identical batches.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import Env, EnvSpec, EnvState, Observation, PyTree, shaped


@dataclass(frozen=True)
class Store:
    """How a world is kept.

    Attributes:
        name: ``packed`` or ``observations``.
        encode: when written.
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

    packed = Store("packed", env.pack, rendered, form(env.pack))
    observed = replace(observation_store(env.spec), encode=env.observe)
    stores = {store.name: store for store in (packed, observed)}
    if name in stores:
        return stores[name]
    return min(stores.values(), key=lambda store: tree_bytes(store.form))


def observation_store(spec: EnvSpec) -> Store:
    """Keeps what was seen, of worlds that are nothing but their observation."""
    form = Observation(
        obs=shaped((spec.n_agents, spec.obs_dim), jnp.float32),
        state=shaped((spec.state_dim,), jnp.float32),
        avail=shaped((spec.n_agents, spec.n_actions), jnp.bool_),
    )
    return Store(
        "observations", lambda seen: seen, lambda seen: Observation(*seen), form
    )
