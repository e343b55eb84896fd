"""Google Research Football's academy (Kurach et al. 2020), through the bridge."""

from typing import Literal

from rolemarl_jax.config import Positive, config
from rolemarl_jax.types import Remote

PLAYERS = {
    "academy_3_vs_1_with_keeper": 3,
    "academy_counterattack_hard": 4,
    "academy_run_to_score_with_keeper": 1,
}


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
    """The world as the bridge's workers need it."""
    settings = {
        "map": cfg.map,
        "agents": PLAYERS[cfg.map],
        "time_limit": cfg.time_limit,
        "rewards": cfg.rewards,
    }
    return Remote(f"grf/{cfg.map}", "grf", settings)
