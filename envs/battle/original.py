"""JaxMARL's own SMAX behind the functions that every battle has."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxmarl.environments.smax import HeuristicEnemySMAX, Scenario
from jaxmarl.environments.smax.heuristic_enemy_smax_env import State
from jaxmarl.environments.smax.smax_env import State as Game

from envs.battle.units import JAXMARL
from envs.battle.world import MOVES, STOP, Rules, Units
from rolemarl_jax.config import ConfigError
from rolemarl_jax.types import Array, Key, Step


def simulator(rules: Rules) -> HeuristicEnemySMAX:
    """JaxMARL's environment under these rules.

    Raises:
        ConfigError: the battle needs what JaxMARL has not.
    """
    battle = rules.battle
    _refuse("types that it lacks", needed=rules.kinds != JAXMARL)
    _refuse("a choke", needed=battle.choke is not None)
    _refuse("shields", needed=rules.shields)
    _refuse("SMACv2's own starts", needed=battle.starts == "smacv2")
    _refuse("enemies that focus their fire", needed=rules.enemies_pick == "focus")
    drawn = bool(battle.weights)
    chances = {(battle.weights or {}).get(kind.name, 0.0) for kind in JAXMARL}
    _refuse("types that are not equally likely", needed=len(chances) > 1)
    types = np.zeros(rules.n_units, np.uint8) if drawn else rules.types
    return HeuristicEnemySMAX(
        enemy_shoots=rules.enemies_shoot,
        attack_mode=rules.enemies_pick,
        scenario=Scenario(
            unit_types=jnp.array(types),
            num_allies=rules.n_allies,
            num_enemies=rules.n_enemies,
            smacv2_position_generation=battle.starts != "facing",
            smacv2_unit_type_generation=drawn,
        ),
        # The simulator tests the clock before it advances.
        max_steps=rules.steps - 1,
        walls_cause_death=rules.walls_kill,
        see_enemy_actions=rules.see_enemy_actions,
        won_battle_bonus=rules.win_bonus,
    )


def _refuse(what: str, *, needed: bool) -> None:
    """Refuses a battle that JaxMARL cannot fight."""
    if needed:
        raise ConfigError(
            f"env.backend: got 'jaxmarl', which has no such battle: it needs {what}; "
            "set env.backend=fast"
        )


def dynamics(sim: HeuristicEnemySMAX) -> tuple[Callable, Callable]:
    """``reset`` and ``step`` of the protocol."""

    def reset(key: Key) -> State:
        return _strong(sim.reset(key)[1])

    def step(key: Key, state: State, actions: Array) -> tuple[State, Step]:
        chosen = dict(zip(sim.agents, actions, strict=True))
        # `step` of the simulator would reset by itself and lose the last world.
        _, state, rewards, _, _ = sim.step_env(key, state, chosen)
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


def units(state: State) -> Units:
    """What there is to see of the simulator's world."""
    game = state.state
    return Units(
        position=game.unit_positions,
        health=game.unit_health,
        cooldown=game.unit_weapon_cooldowns,
        action=_last_actions(game),
        types=game.unit_types.astype(jnp.int32),
        shield=None,
        step=game.step,
    )


def restorer(sim: HeuristicEnemySMAX) -> Callable[[Units], State]:
    """Makes the function that puts units back into the simulator's world."""
    teams = np.arange(sim.num_allies + sim.num_enemies) >= sim.num_allies
    memory = sim.get_enemy_policy_initial_state(jax.random.key(0))

    def restore(units: Units) -> State:
        game = Game(
            done=jnp.zeros((), bool),
            step=units.step,
            unit_positions=units.position,
            unit_alive=units.health > 0,
            unit_teams=jnp.array(teams, jnp.float32),
            unit_health=units.health,
            unit_types=units.types.astype(jnp.uint8),
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


def _strong(tree: State) -> State:
    """The same arrays without weak types, so that loops carry one signature."""
    return jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), tree)
