"""SMAC on StarCraft II (Samvelyan et al. 2019), through the bridge."""

from envs.bridged import STARCRAFT_REWARDS, require_known_best, settings
from rolemarl_jax.config import Above0, Finite, Positive, config
from rolemarl_jax.types import Remote


@config
class Config:
    """Arguments of ``smac.env.StarCraft2Env`` (``configs/env/smac.yaml``).

    Attributes:
        name: of the environment.
        map: of the package.
        game_version: ``None`` for the newest installed.
        sc2_timeout_s: how long the client waits for an answer of the game.
        difficulty: of the built-in AI.
        step_mul: game steps of one step.
        obs_all_health: agents see the health of units in sight.
        obs_own_health: and their own.
        obs_last_action: and last actions of allies.
        obs_pathing_grid: and where one can walk.
        obs_terrain_height: and the height of the ground.
        obs_instead_of_state: the state is all observations together.
        obs_timestep_number: agents see the clock.
        state_last_action: the state holds last actions.
        state_timestep_number: and the clock.
        reward_sparse: only the end is rewarded.
        reward_only_positive: damage to allies costs nothing.
        reward_death_value: for a kill.
        reward_win: at the end.
        reward_defeat: at the end.
        reward_negative_scale: factor on what damage to allies costs.
        reward_scale: whether rewards are scaled.
        reward_scale_rate: their greatest sum then.
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
    reward_death_value: Finite
    reward_win: Finite
    reward_defeat: Finite
    reward_negative_scale: Finite
    reward_scale: bool
    reward_scale_rate: Above0


READ_WHEN = STARCRAFT_REWARDS


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it.

    Raises:
        ConfigError: sparse rewards that are scaled.
    """
    require_known_best(cfg)
    told = settings(cfg, "map") | {"map_name": cfg.map}
    return Remote(f"smac/{cfg.map}", "smac", told)
