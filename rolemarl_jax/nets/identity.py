"""EOI's classifier of agents by their observations (Jiang and Lu 2021)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.nets.layers import MLP, Module
from rolemarl_jax.types import Array, Key


class IdentityClassifier(Module):
    """``log P(I | o)``: ReLU layers and a softmax over the agents."""

    widths: tuple[int, ...]
    n_agents: int

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        """Maps `[..., O]` to log-probabilities `[..., N]`."""
        return jax.nn.log_softmax(MLP((*self.widths, self.n_agents))(obs))


def own_probability(log_p: Array) -> Array:
    """``P(i | o_i)``, the intrinsic reward: `[..., N, N]` to `[..., N]`."""
    return jnp.exp(jnp.diagonal(log_p, axis1=-2, axis2=-1))


def earlier(reset: Array, window: int, key: Key) -> tuple[Array, Array]:
    """For each step a uniformly drawn one of the last ``window`` of its episode.

    Args:
        reset: `[T, B]` bool, first steps of episodes.

    Returns:
        Time indices `[T, B]` int32, and whether there is any such step.
    """
    steps = jnp.arange(reset.shape[0])[:, None]
    begun = jax.lax.cummax(jnp.where(reset, steps, 0), axis=0)
    reach = jnp.minimum(steps - begun, window)
    back = 1 + jnp.floor(jax.random.uniform(key, reset.shape) * reach)
    back = jnp.clip(back, 1, jnp.maximum(reach, 1)).astype(jnp.int32)
    return jnp.maximum(steps - back, 0), reach > 0


def identity_losses(
    log_p: Array, reset: Array, window: int, key: Key
) -> dict[str, Array]:
    """The classifier's cross-entropy and its two regularisers (EOI eq. 2, 4, 5).

    ``CE(p, y) = -sum y log p``. With t' one of the last ``window`` steps of the same
    episode: ``identity = CE(P(.|o_t), onehot(i))``, ``distance = CE(P(.|o_t),
    P(.|o_t'))``, ``entropy = CE(P(.|o_t), P(.|o_t))``.

    Args:
        log_p: `[T, B, N, N]`, agent's observation by classified agent.
        reset: `[T, B]` bool.

    Returns:
        Losses `[T, B]`, means over agents; ``distance`` is 0 where an episode begins.
    """
    own = jnp.diagonal(log_p, axis1=-2, axis2=-1)
    at, known = earlier(reset, window, key)
    before = log_p[at, jnp.arange(reset.shape[1])]
    distance = -(jnp.exp(before) * log_p).sum(-1).mean(-1)
    return {
        "identity": -own.mean(-1),
        "distance": distance * known,
        "entropy": -(jnp.exp(log_p) * log_p).sum(-1).mean(-1),
    }
