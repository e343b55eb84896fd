"""SMAX on the Env protocol: JaxMARL's own simulator, or a faster one with more in it.

The time limit is told apart from the end of a battle, and the global state is
normalised unless ``state: raw`` asks for JaxMARL's own, from which QMIX does not
learn. docs/environments.md has all differences.
"""

from typing import Literal

from envs.battle import fast
from envs.battle.observe import observer, sizes
from envs.battle.teams import Wish, find
from envs.battle.world import Rules, codec
from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.types import Env, EnvSpec


@config
class Config:
    """SMAX (``env/smax.yaml``, where every key is explained)."""

    name: Literal["smax"]
    map: str
    backend: Literal["jaxmarl", "fast"]
    allies: dict[str, int] | None
    enemies: dict[str, int] | None
    random_positions: bool | None
    random_types: bool | None
    type_weights: dict[str, float] | None
    shields: bool
    max_steps: int
    walls_cause_death: bool
    see_enemy_actions: bool
    won_battle_bonus: float
    enemy_shoots: bool
    attack_mode: Literal["closest", "random", "focus"]
    state: Literal["normalised", "raw"]


def make(cfg: Config) -> Env:
    """Makes the environment.

    Raises:
        ConfigError: unknown map, impossible teams, a time limit out of range, or
            a battle that the backend has not.
    """
    if not 0 <= cfg.max_steps < 2**16 - 1:
        raise ConfigError(f"env.max_steps: got {cfg.max_steps}; allowed: 0 to 65534")
    rules = _rules(cfg)
    see, (store, load) = observer(rules, cfg.state == "raw"), codec(rules)
    if cfg.backend == "jaxmarl":
        # Its import takes seconds, and the other backend does without.
        from envs.battle import original

        sim = original.simulator(rules)
        reset, step = original.dynamics(sim)
        units, restore = original.units, original.restorer(sim)
    else:
        reset, step = fast.dynamics(rules)
        units, restore = fast.units, fast.restorer(rules)
    obs_dim, state_dim = sizes(rules)
    spec = EnvSpec(
        name=f"smax/{cfg.map}",
        n_agents=rules.n_allies,
        n_actions=rules.n_actions,
        obs_dim=obs_dim,
        state_dim=state_dim,
        episode_limit=rules.steps,
        max_return=1.0 + cfg.won_battle_bonus,
    )
    return Env(
        spec=spec,
        reset=reset,
        step=step,
        observe=lambda state: see(units(state)),
        pack=lambda state: store(units(state)),
        unpack=lambda packed: restore(load(packed)),
    )


def _rules(cfg: Config) -> Rules:
    """The battle's rules."""
    wish = Wish(
        map=cfg.map,
        allies=cfg.allies,
        enemies=cfg.enemies,
        random_positions=cfg.random_positions,
        random_types=cfg.random_types,
        type_weights=cfg.type_weights,
    )
    return Rules(
        battle=find(wish),
        # JaxMARL's limit tests the clock before it advances.
        steps=cfg.max_steps + 1,
        shields=cfg.shields,
        see_enemy_actions=cfg.see_enemy_actions,
        walls_kill=cfg.walls_cause_death,
        win_bonus=cfg.won_battle_bonus,
        enemies_shoot=cfg.enemy_shoots,
        enemies_pick=cfg.attack_mode,
    )
