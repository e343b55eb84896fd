"""JaxMARL's SMAX on the Env protocol.

Two things differ from the simulator, both on purpose: the time limit is told
apart from the end of a battle, and the global state is normalised unless
``state: raw`` asks for the simulator's own, from which QMIX does not learn.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxmarl.environments.smax import HeuristicEnemySMAX
from jaxmarl.environments.smax.heuristic_enemy_smax_env import State
from jaxmarl.environments.smax.smax_env import State as Game

from envs.battle.observe import observer, sizes
from envs.battle.teams import scenario
from envs.battle.world import MOVES, STOP, Rules, Units, codec
from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.types import Array, Env, EnvSpec, EnvState, Key, Step


@config
class Config:
    """SMAX (``env/smax.yaml``, where every key is explained)."""

    name: Literal["smax"]
    map: str
    allies: dict[str, int] | None
    enemies: dict[str, int] | None
    random_positions: bool | None
    random_types: bool | None
    max_steps: int
    walls_cause_death: bool
    see_enemy_actions: bool
    won_battle_bonus: float
    enemy_shoots: bool
    attack_mode: Literal["closest", "random"]
    state: Literal["normalised", "raw"]


def make(cfg: Config) -> Env:
    """Makes the environment.

    Raises:
        ConfigError: unknown map, impossible teams, or a time limit out of range.
    """
    if not 0 <= cfg.max_steps < 2**16:
        raise ConfigError(f"env.max_steps: got {cfg.max_steps}; allowed: 0 to 65535")
    sim = _simulator(cfg)
    rules = _rules(sim)
    see, (store, load) = observer(rules, cfg.state == "raw"), codec(rules)
    reset, step = _dynamics(sim)
    restore = _restorer(sim)
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
        observe=lambda state: see(_units(state)),
        pack=lambda state: store(_units(state)),
        unpack=lambda packed: restore(load(packed)),
    )


def _simulator(cfg: Config) -> HeuristicEnemySMAX:
    """JaxMARL's environment for this configuration."""
    return HeuristicEnemySMAX(
        enemy_shoots=cfg.enemy_shoots,
        attack_mode=cfg.attack_mode,
        scenario=scenario(
            cfg.map, cfg.allies, cfg.enemies, cfg.random_positions, cfg.random_types
        ),
        max_steps=cfg.max_steps,
        walls_cause_death=cfg.walls_cause_death,
        see_enemy_actions=cfg.see_enemy_actions,
        won_battle_bonus=cfg.won_battle_bonus,
    )


def _dynamics(sim: HeuristicEnemySMAX) -> tuple[Callable, Callable]:
    """``reset`` and ``step`` of the protocol."""

    def reset(key: Key) -> EnvState:
        return _strong(sim.reset(key)[1])

    def step(key: Key, state: EnvState, actions: Array) -> tuple[EnvState, Step]:
        chosen = dict(zip(sim.agents, actions, strict=True))
        # `step` of the simulator would reset by itself and lose the last world.
        _, state, rewards, _, _ = sim.step_env(key, state, chosen)
        game = state.state
        game = state.state
        ally, enemy = jnp.split(game.unit_alive, [sim.num_allies])
        terminated = ~ally.any() | ~enemy.any()
        outcome = Step(
            reward=rewards[sim.agents[0]],
            terminated=terminated,
            truncated=game.done & ~terminated,
            won=ally.any() & ~enemy.any(),
        )
        return _strong(state), outcome

    return reset, step


def _rules(sim: HeuristicEnemySMAX) -> Rules:
    """The simulator's constants, as observations and packing need them."""
    drawn = sim.smacv2_unit_type_generation
    return Rules(
        n_allies=sim.num_allies,
        n_enemies=sim.num_enemies,
        types=None if drawn else np.asarray(sim.scenario),
        sight=np.asarray(sim.unit_type_sight_ranges),
        reach=np.asarray(sim.unit_type_attack_ranges),
        health=np.asarray(sim.unit_type_health),
        cooldown=np.asarray(sim.unit_type_weapon_cooldowns),
        size=(sim.map_width, sim.map_height),
        # The simulator tests the clock before it advances.
        steps=sim.max_steps + 1,
        see_enemy_actions=sim.see_enemy_actions,
    )


def _units(state: EnvState) -> Units:
    """What there is to see of the simulator's world."""
    game = state.state
    return Units(
        position=game.unit_positions,
        health=game.unit_health,
        cooldown=game.unit_weapon_cooldowns,
        action=_last_actions(game),
        types=game.unit_types,
        step=game.step,
    )


def _restorer(sim: HeuristicEnemySMAX) -> Callable[[Units], EnvState]:
    """Makes the function that puts units back into the simulator's world."""
    teams = np.arange(sim.num_allies + sim.num_enemies) >= sim.num_allies
    memory = sim.get_enemy_policy_initial_state(jax.random.key(0))

    def restore(units: Units) -> EnvState:
        game = Game(
            done=jnp.zeros((), bool),
            step=units.step,
            unit_positions=units.position,
            unit_alive=units.health > 0,
            unit_teams=jnp.array(teams, jnp.float32),
            unit_health=units.health,
            unit_types=units.types,
            unit_weapon_cooldowns=units.cooldown,
            prev_movement_actions=jnp.array(MOVES)[jnp.minimum(units.action, STOP)],
            prev_attack_actions=jnp.where(units.action > STOP, units.action, 0),
        )
        return _strong(State(state=game, enemy_policy_state=memory))

    return restore


def _last_actions(game: Game) -> Array:
    """Index ``[U]`` of every unit's previous action; STOP before the first one."""
    to_the_side, up = game.prev_movement_actions.T
    moved = (up > 0.5, to_the_side > 0.5, up < -0.5, to_the_side < -0.5)
    move = jnp.select(moved, (0, 1, 2, 3), STOP)
    return jnp.where(game.prev_attack_actions > STOP, game.prev_attack_actions, move)


def _strong(tree: EnvState) -> EnvState:
    """The same arrays without weak types, so that loops carry one signature."""
    return jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), tree)
