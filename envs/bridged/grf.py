"""Google Research Football's academy (Kurach et al. 2020), through the bridge."""

from typing import Literal

from rolemarl_jax.config import ConfigError, Positive, config
from rolemarl_jax.types import Remote

PLAYERS = {
    "academy_3_vs_1_with_keeper": 3,
    "academy_counterattack_hard": 4,
    "academy_run_to_score_with_keeper": 1,
}
DURATION = 400  # steps, after which the scenarios end a game by themselves


@config
class Config:
    """Scenario and time limit (``configs/env/grf.yaml``).

    Attributes:
        name: of the environment.
        map: the scenario; it fixes the number of agents.
        time_limit: steps after which an episode is truncated.
        rewards: ``scoring``, or with ``checkpoints`` that pay for progress.
    """

    name: str
    map: Literal[
        "academy_3_vs_1_with_keeper",
        "academy_counterattack_hard",
        "academy_run_to_score_with_keeper",
    ]
    time_limit: Positive
    rewards: Literal["scoring", "scoring,checkpoints"]


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it.

    Raises:
        ConfigError: a time limit that the game's own clock forestalls, which says
            `terminated`.
    """
    if cfg.time_limit >= DURATION:
        raise ConfigError(
            f"env.time_limit: got {cfg.time_limit}; allowed: 1 to {DURATION - 1}, for "
            f"the scenarios end a game after {DURATION} steps as if the task were over"
        )
    settings = {
        "map": cfg.map,
        "agents": PLAYERS[cfg.map],
        "time_limit": cfg.time_limit,
        "rewards": cfg.rewards,
    }
    return Remote(f"grf/{cfg.map}", "grf", settings)
