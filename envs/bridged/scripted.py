"""A small world behind the bridge, with SMAC's interface and its ways to fail."""

from typing import Literal

from envs.bridged import settings
from rolemarl_jax.config import Fraction, Natural, NonNegative, Positive, Size, config
from rolemarl_jax.types import Remote

Fault = Literal[
    "crash", "hang", "killed", "error", "ended", "nan", "shape", "scale", "launch"
]


@config
class Config:
    """Sizes, pace and faults (``configs/env/scripted.yaml``).

    Attributes:
        name: of the environment.
        n_agents: N.
        episode_limit: most steps of an episode.
        goal: right choices that win.
        extra_obs: further features of an observation, all zero.
        step_ms: milliseconds of a game step.
        jitter: fraction by which they vary.
        launch_s: seconds that the game takes to start.
        faults: that may happen: crash, hang and killed at a reset or a step; error,
            ended, nan and shape at a step; scale at a reset; launch.
        fault_chance: of a fault at each step.
        reset_chance: of a fault at each reset.
        launch_chance: of a failed launch.
        broken: whether it refuses to start.
    """

    name: str
    n_agents: Size
    episode_limit: Positive
    goal: Positive
    extra_obs: Natural
    step_ms: NonNegative
    jitter: Fraction
    launch_s: NonNegative
    faults: tuple[Fault, ...]
    fault_chance: Fraction
    reset_chance: Fraction
    launch_chance: Fraction
    broken: bool


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it."""
    return Remote("scripted", "scripted", settings(cfg))
