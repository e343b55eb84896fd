"""A control: an agent's role is drawn at random and stays for the episode.

Whoever acts, judges or learns has to find the same role for the same episode, without
a key that they share. So the lot is drawn with the bits of what the agent itself
observes at the episode's first step, and is remembered in the recurrent state. Rows of
replay therefore have to begin with their episode, unless the state that acted comes
along. Where all episodes begin alike, roles are drawn once for all.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.config import Size, config
from rolemarl_jax.roles.parts.given import GivenConfig, make_given
from rolemarl_jax.roles.parts.method import Carry, Feats, Hidden, RoleMethod
from rolemarl_jax.roles.parts.phase import Params
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key, shaped


@config
class Config(GivenConfig):
    """Random roles (key ``algo.role``), besides what it inherits.

    Attributes:
        name: of the method, ``random_role``.
        roles: Z, of which one is drawn, all with equal chances.
    """

    name: str
    roles: Size


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record."""
    return make_given(
        cfg,
        spec,
        cfg.roles,
        partial(encode, cfg.roles),
        {"lot": shaped((), jnp.int32)},
        whole=True,
    )


def encode(
    roles: int, params: Params, x: Inputs, carry: Carry, key: Key | None
) -> tuple[Feats, Hidden]:
    """One-hot roles `[T, B, N, Z]`: those of the episode's beginning."""
    del params, key
    drawn = draw(x.obs, roles)
    steps = jnp.arange(drawn.shape[0])[:, None]
    begun = jax.lax.cummax(jnp.where(x.reset, steps, -1), axis=0)[..., None]
    own = jnp.take_along_axis(drawn, jnp.maximum(begun, 0), axis=0)
    lot = jnp.where(begun >= 0, own, carry["lot"])
    return {"role": jax.nn.one_hot(lot, roles)}, {"lot": lot}


def draw(obs: Array, roles: int) -> Array:
    """Lots that an agent's own observation and index decide.

    Args:
        obs: `[T, B, N, O]`. roles: from 0 to one less of which lots are drawn.

    Returns:
        `[T, B, N]` int32.
    """
    *shape, n, width = obs.shape
    bits = jax.lax.bitcast_convert_type(obs.astype(jnp.float32), jnp.uint32)
    # Whole numbers wrap around and add up to the same in any order. Each place counts
    # differently, and before the sum high bits are mixed into low ones, because round
    # numbers differ in their high bits only.
    places = np.arange(width, dtype=np.uint32) * np.uint32(0x9E3779B9)
    bits = (bits + places) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 15)) * np.uint32(0xC2B2AE35)
    own = (bits ^ (bits >> 13)).sum(-1, dtype=jnp.uint32)

    def lot(bits: Array, index: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), bits), index)
        return jax.random.randint(key, (), 0, roles)

    index = jnp.broadcast_to(jnp.arange(n), own.shape)
    return jax.vmap(lot)(own.reshape(-1), index.reshape(-1)).reshape(*shape, n)
