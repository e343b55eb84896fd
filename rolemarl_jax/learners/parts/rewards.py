"""One scale of rewards for all worlds."""

from rolemarl_jax.types import EnvSpec

PERFECT = 20.0
"""Return that SMAC gives a battle won without a loss, which the papers' losses and
R3DM's weights are tuned for."""


def reward_scale(given: float | None, spec: EnvSpec) -> float:
    """Factor on rewards inside a loss.

    Args:
        given: the factor itself, or ``None`` for the one that makes a perfect episode
            return 20; worlds that do not know their best return keep their rewards.
    """
    if given is not None:
        return given
    return PERFECT / spec.max_return if spec.max_return else 1.0
