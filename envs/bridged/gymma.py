"""Gymnasium environments of several agents (EPyMARL's sense), through the bridge."""

from typing import Any, Literal

from envs.bridged import settings
from rolemarl_jax.config import Positive, config
from rolemarl_jax.types import Remote


@config
class Config:
    """Which environment, and its time limit (``configs/env/gymma.yaml``).

    Attributes:
        name: of the environment.
        id: as ``gymnasium.make`` takes it.
        imports: packages that register it.
        time_limit: steps after which an episode is truncated; the environment must not
            truncate one before.
        limit_attribute: where the environment keeps a limit of its own, which is then
            put out of reach; ``None`` if it has none.
        team_reward: what the team gets of its agents' rewards.
        kwargs: further arguments of ``gymnasium.make``.
    """

    name: str
    id: str
    imports: tuple[str, ...]
    time_limit: Positive
    limit_attribute: str | None
    team_reward: Literal["sum", "mean"]
    kwargs: dict[str, Any]


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it."""
    return Remote(f"gymma/{cfg.id}", "gymma", settings(cfg))
