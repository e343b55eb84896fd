"""SMACv2 on StarCraft II (Ellis et al. 2023), through the bridge."""

import dataclasses
from typing import Any

from rolemarl_jax.config import ConfigError, Positive, config
from rolemarl_jax.types import Remote


@config
class Config:
    """Arguments of ``StarCraftCapabilityEnvWrapper`` (``configs/env/smacv2.yaml``).

    Attributes:
        map: ``10gen_terran``, ``10gen_protoss`` or ``10gen_zerg``.
        units, enemies: in each team.
        teams: ``{race: {unit_types, weights, exception_unit_types}}``.
        team_gen, start_positions: distributions; types and weights of ``team_gen``
            come from ``teams``.
        more_capabilities: further keys of ``capability_config``.
        sc2_timeout_s: how long the client waits for an answer of the game.

    The others have the package's names.
    """

    name: str
    map: str
    units: Positive
    enemies: Positive
    teams: dict[str, dict[str, Any]]
    team_gen: dict[str, Any]
    start_positions: dict[str, Any]
    more_capabilities: dict[str, Any]
    game_version: str | None
    sc2_timeout_s: Positive
    difficulty: str
    step_mul: Positive
    move_amount: float
    obs_all_health: bool
    obs_own_health: bool
    obs_own_pos: bool
    obs_last_action: bool
    obs_pathing_grid: bool
    obs_terrain_height: bool
    obs_instead_of_state: bool
    obs_timestep_number: bool
    state_last_action: bool
    state_timestep_number: bool
    conic_fov: bool
    num_fov_actions: Positive
    use_unit_ranges: bool
    min_attack_range: float
    prob_obs_enemy: float
    action_mask: bool
    reward_sparse: bool
    reward_only_positive: bool
    reward_death_value: float
    reward_win: float
    reward_defeat: float
    reward_negative_scale: float
    reward_scale: bool
    reward_scale_rate: float


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it.

    Raises:
        ConfigError: a race that ``env.teams`` does not describe.
    """
    settings = dataclasses.asdict(cfg)
    for key in ("name", "map", "units", "enemies", "teams", "team_gen"):
        settings.pop(key)
    race = cfg.map.removeprefix("10gen_")
    if race not in cfg.teams:
        known = ", ".join(f"10gen_{name}" for name in cfg.teams)
        raise ConfigError(f"env.map: got '{cfg.map}'; allowed: {known}")
    settings["map_name"] = cfg.map
    settings["capability_config"] = {
        "n_units": cfg.units,
        "n_enemies": cfg.enemies,
        "team_gen": {**cfg.team_gen, **cfg.teams[race]},
        "start_positions": settings.pop("start_positions"),
        **settings.pop("more_capabilities"),
    }
    name = f"smacv2/{cfg.map}-{cfg.units}v{cfg.enemies}"
    return Remote(name, "smacv2", settings)
