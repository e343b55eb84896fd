"""SMACv2 on StarCraft II (Ellis et al. 2023), through the bridge."""

from typing import Any

from envs.bridged import STARCRAFT_REWARDS, require_known_best, settings
from rolemarl_jax.config import (
    Above0,
    ConfigError,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    config,
)
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.types import Remote

# Keys that the package takes and then fails with, and how.
BROKEN = {
    "obs_pathing_grid": "its grid is asked for places between its squares",
    "obs_terrain_height": "its grid is asked for places between its squares",
    "obs_instead_of_state": "it gives such a state no names",
}
# Capabilities of one number an agent; the package wants their bounds as lists.
NUMBERS = ("attack", "health")


@config
class Config:
    """Arguments of ``StarCraftCapabilityEnvWrapper`` (``configs/env/smacv2.yaml``).

    Attributes:
        name: of the environment.
        map: ``10gen_terran``, ``10gen_protoss`` or ``10gen_zerg``.
        units: allies.
        enemies: units of the other team.
        teams: ``{race: {unit_types, weights, exception_unit_types}}``.
        team_gen: distribution of teams; types and weights come from ``teams``.
        start_positions: distribution of starts.
        more_capabilities: further keys of ``capability_config``; the bounds of
            ``attack`` and ``health`` are lists.
        game_version: ``None`` for the newest installed.
        sc2_timeout_s: how long the client waits for an answer of the game.
        difficulty: of the built-in AI.
        step_mul: game steps of one step.
        move_amount: how far a move goes, in map units.
        obs_all_health: agents see the health of units in sight.
        obs_own_health: and their own.
        obs_own_pos: and where they are.
        obs_last_action: and last actions of allies.
        obs_pathing_grid: false, as the package fails with it.
        obs_terrain_height: likewise.
        obs_instead_of_state: likewise.
        obs_timestep_number: agents see the clock.
        state_last_action: the state holds last actions.
        state_timestep_number: and the clock.
        conic_fov: agents see a cone, and turn it by further actions.
        num_fov_actions: how many.
        use_unit_ranges: sight and attack ranges by type.
        min_attack_range: to which short ones are raised, in map units.
        prob_obs_enemy: chance to see an enemy in sight that others see first.
        action_mask: attacks are available only on enemies in range.
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
    move_amount: Above0
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
    min_attack_range: NonNegative
    prob_obs_enemy: Fraction
    action_mask: bool
    reward_sparse: bool
    reward_only_positive: bool
    reward_death_value: Finite
    reward_win: Finite
    reward_defeat: Finite
    reward_negative_scale: Finite
    reward_scale: bool
    reward_scale_rate: Above0


READ_WHEN = (
    *STARCRAFT_REWARDS,
    ReadWhen(("num_fov_actions",), lambda c: c.conic_fov, "env.conic_fov=true"),
    ReadWhen(
        ("min_attack_range",), lambda c: c.use_unit_ranges, "env.use_unit_ranges=true"
    ),
)


def make(cfg: Config) -> Remote:
    """The world as the bridge's workers need it.

    Raises:
        ConfigError: a race that ``env.teams`` does not describe; keys that the package
            fails with, or bounds that are no lists; sparse rewards that are scaled.
    """
    _require_works(cfg)
    require_known_best(cfg)
    told = settings(cfg, "map", "units", "enemies", "teams", "team_gen")
    race = cfg.map.removeprefix("10gen_")
    if race not in cfg.teams:
        known = ", ".join(f"10gen_{name}" for name in cfg.teams)
        raise ConfigError(f"env.map: got '{cfg.map}'; allowed: {known}")
    told["map_name"] = cfg.map
    told["capability_config"] = {
        "n_units": cfg.units,
        "n_enemies": cfg.enemies,
        "team_gen": {**cfg.team_gen, **cfg.teams[race]},
        "start_positions": told.pop("start_positions"),
        **told.pop("more_capabilities"),
    }
    # Ends as the papers name such a battle: terran_5_vs_5.
    name = f"smacv2/{cfg.map}_{cfg.units}_vs_{cfg.enemies}"
    return Remote(name, "smacv2", told)


def _require_works(cfg: Config) -> None:
    """Refuses what the package fails with once a game has been launched.

    Raises:
        ConfigError: names the key.
    """
    for key, why in BROKEN.items():
        if getattr(cfg, key):
            raise ConfigError(
                f"env.{key}: got true; allowed: false, for the package smacv2 fails "
                f"with it ({why})"
            )
    for name in NUMBERS:
        values = cfg.more_capabilities.get(name, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f"env.more_capabilities.{name}: got {values!r}; allowed: a section, as "
                "the package's capability_config has it"
            )
        for bound in ("lower_bound", "upper_bound"):
            got = values.get(bound, [])
            if not isinstance(got, list | tuple):
                raise ConfigError(
                    f"env.more_capabilities.{name}.{bound}: got {got!r}; allowed: a "
                    f"list of one number, as the package takes it: [{got}]"
                )
