"""Epsilon-greedy exploration."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Fraction, Natural, config
from rolemarl_jax.ops.td import mask_unavailable
from rolemarl_jax.types import Array, Key


@config
class EpsilonConfig:
    """Exploration schedule (key ``algo.epsilon``).

    Attributes:
        start: first rate.
        finish: last rate.
        steps: env steps between them, linear.
        joint: one coin for the whole team (the ACORM authors') instead of one an agent.
    """

    start: Fraction
    finish: Fraction
    steps: Natural
    joint: bool


def linear_epsilon(cfg: EpsilonConfig) -> Callable[[Array], Array]:
    """Rate as a function of env steps."""

    def epsilon(env_steps: Array) -> Array:
        done = jnp.clip(env_steps / max(cfg.steps, 1), 0.0, 1.0)
        return cfg.start + done * (cfg.finish - cfg.start)

    return epsilon


def epsilon_greedy(
    q: Array, avail: Array, epsilon: Array, key: Key, *, joint: bool
) -> Array:
    """Available actions: greedy, or uniformly random with probability epsilon.

    Args:
        q: `[B, N, A]`. avail: `[B, N, A]` bool. epsilon: scalar.
        joint: whether a world's agents share one coin.

    Returns:
        Actions `[B, N]` int32.
    """
    coin, noise = jax.random.split(key)
    flips = (q.shape[0], 1 if joint else q.shape[1])
    explore = jax.random.uniform(coin, flips) < epsilon
    lottery = jnp.where(avail, jax.random.uniform(noise, q.shape), -1.0)
    greedy = jnp.argmax(mask_unavailable(q, avail), axis=-1)
    return jnp.where(explore, jnp.argmax(lottery, axis=-1), greedy).astype(jnp.int32)
