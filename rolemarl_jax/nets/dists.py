"""Distributions over actions."""

import distrax
import jax.numpy as jnp

from rolemarl_jax.types import Array


def categorical(logits: Array, avail: Array) -> distrax.Categorical:
    """Categorical distribution over the available actions.

    Unavailable ones get the least finite logit, hence probability 0, and no part in
    entropy or gradient.

    Args:
        logits: `[..., A]`. avail: `[..., A]` bool, at least one true in each row.
    """
    least = jnp.finfo(logits.dtype).min
    return distrax.Categorical(logits=jnp.where(avail, logits, least))
