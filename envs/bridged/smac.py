"""SMAC on StarCraft II (Samvelyan et al. 2019), through the bridge."""

import dataclasses

from rolemarl_jax.config import Positive, config
from rolemarl_jax.types import Remote


@config
class Config:
    """Arguments of ``smac.env.StarCraft2Env`` (``configs/env/smac.yaml``).

    Attributes:
        map: of the package. game_version: ``None`` for the newest installed.
        sc2_timeout_s: how long the client waits for an answer of the game.

    The others have the package's names.
    """

    name: str
    map: str
    game_version: str | None
    sc2_timeout_s: Positive
    difficulty: str
    step_mul: Positive
    obs_all_health: bool
    obs_own_health: bool
    obs_last_action: bool
    obs_pathing_grid: bool
    obs_terrain_height: bool
    obs_instead_of_state: bool
    obs_timestep_number: bool
    state_last_action: bool
    state_timestep_number: bool
    reward_sparse: bool
    reward_only_positive: bool
    reward_death_value: float
    reward_win: float
    reward_defeat: float
    reward_negative_scale: float
    reward_scale: bool
    reward_scale_rate: float


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it."""
    settings = dataclasses.asdict(cfg)
    settings.pop("name")
    settings["map_name"] = settings.pop("map")
    return Remote(f"smac/{cfg.map}", "smac", settings)
