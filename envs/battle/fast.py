"""The battle on the Env protocol: reset, step, reward and ends."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.battle import dynamics as physics
from envs.battle import scripted
from envs.battle.starts import MARGIN, starter
from envs.battle.world import SECONDS, SIZE, SUBSTEPS, Rules, Units, look_up
from rolemarl_jax.types import Array, Key, Step


class World(NamedTuple):
    """A battle: what can be observed, and what cannot."""

    units: Units
    memory: scripted.Memory  # of the scripted team
    quiet: Array | None  # [U] seconds since damage, where shields are on


class Chances(NamedTuple):
    """All that is random in an env step."""

    late: Array  # [SUBSTEPS, U] seconds added to the cooldown of an attack
    enemy: Array  # [E, 2] in [0, 1)


def dynamics(rules: Rules) -> tuple[Callable, Callable]:
    """``reset`` and ``step`` of the protocol."""
    start, restore, go = starter(rules), restorer(rules), stepper(rules)
    shape = (SUBSTEPS * rules.n_units + 2 * rules.n_enemies,)

    def reset(key: Key) -> World:
        world = restore(start(key))
        body = physics.body_of(world.units, world.quiet)
        body = physics.pusher(rules, world.units.types)(body)
        position = jnp.stack([body.x, body.y], 1)
        if rules.battle.starts == "smacv2":
            position = jnp.clip(position, MARGIN, jnp.array(SIZE) - MARGIN)
        return world._replace(units=world.units._replace(position=position))

    def step(key: Key, world: World, actions: Array) -> tuple[World, Step]:
        drawn = jax.random.uniform(key, shape)
        late, chance = jnp.split(drawn, [SUBSTEPS * rules.n_units])
        late = late.reshape(SUBSTEPS, -1) * (3 * SECONDS) - SECONDS
        chances = Chances(late, chance.reshape(-1, 2))
        return go(world, actions.astype(jnp.int32), chances)

    return reset, step


def stepper(rules: Rules) -> Callable[[World, Array, Chances], tuple[World, Step]]:
    """Makes ``step`` without its randomness."""
    enemies = scripted.team(rules, allies=False)
    decide = scripted.decider(
        rules, enemies, rules.enemies_pick, shoots=rules.enemies_shoot
    )

    def go(world: World, actions: Array, chances: Chances) -> tuple[World, Step]:
        before = world.units
        theirs, memory = decide(before, world.memory, chances.enemy)
        action = jnp.concatenate([actions, theirs])
        told = physics.orders(rules, action, before.types)
        body = physics.body_of(before, world.quiet)
        body = physics.advance(rules, body, told, before.types, chances.late)
        after = before._replace(
            position=jnp.stack([body.x, body.y], 1),
            health=body.health,
            cooldown=body.cooldown,
            action=action,
            shield=body.shield,
            step=before.step + 1,
        )
        return World(after, memory, body.quiet), _outcome(rules, before, after)

    return go


def _outcome(rules: Rules, before: Units, after: Units) -> Step:
    """Reward and ends of a step.

    The reward is the part of the enemies' health that was lost, so that it adds up
    to 1 over a won battle in which all die; what they heal counts against it.
    """
    n = rules.n_allies
    # Who can only heal has lost.
    fights = look_up(rules.table("heals"), before.types) == 0
    alive = (after.health > 0) & fights if rules.heals else after.health > 0
    ally, enemies = alive[:n].any(), alive[n:].any()
    whole = look_up(rules.table("whole"), before.types)
    lost = (_whole(before) - _whole(after)) / whole
    terminated = ~ally | ~enemies
    won = ally & ~enemies
    return Step(
        reward=lost[n:].sum() / rules.n_enemies + won * jnp.float32(rules.win_bonus),
        terminated=terminated,
        truncated=(after.step >= rules.steps) & ~terminated,
        won=won,
    )


def _whole(units: Units) -> Array:
    """Health and shield of units ``[U]``; the dead have neither."""
    if units.shield is None:
        return units.health
    return jnp.where(units.health > 0, units.health + units.shield, 0.0)


def units(world: World) -> Units:
    """What there is to see of the world."""
    return world.units


def restorer(rules: Rules) -> Callable[[Units], World]:
    """Makes the function that puts units back into a world."""

    def restore(units: Units) -> World:
        quiet = jnp.zeros(rules.n_units) if rules.shields else None
        return World(units, scripted.blank(rules.n_enemies), quiet)

    return restore
