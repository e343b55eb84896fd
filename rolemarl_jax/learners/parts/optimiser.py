"""The optimiser of a learner's own gradient step, as configured."""

from typing import Literal

from rolemarl_jax.config import Above0, config


@config
class OptimiserConfig:
    """Optimiser (key ``algo.optimiser``).

    Attributes:
        name: see ``ops.optim``.
        eps: see ``ops.optim``.
        clip: gradient norm, for each set of groups with one learning rate.
    """

    name: Literal["adam", "rmsprop"]
    eps: Above0
    clip: Above0
