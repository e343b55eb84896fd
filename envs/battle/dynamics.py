"""What happens within one env step: eight substeps of a sixteenth of a second.

JaxMARL's dynamics with less work: pairs of units on ``[U, U]`` planes of x and y
instead of one ``[U, U, 2]`` array, damage as sums over planes instead of a scatter,
and the chances of all substeps drawn at once. Healers, splash, shields and rock are
left out of the program where a battle has none.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.battle import units as unit
from envs.battle.world import MOVES, SECONDS, SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array

# An array, or None where the rules do without.
Maybe = Any


class Body(NamedTuple):
    """What changes from substep to substep."""

    x: Array  # [U] map units
    y: Array  # [U] map units
    health: Array  # [U]
    cooldown: Array  # [U] seconds; a healer's energy
    shield: Maybe  # [U] where shields are on
    quiet: Maybe  # [U] seconds since the last damage, where shields are on


class Orders(NamedTuple):
    """What units are told to do for the whole env step."""

    dx: Array  # [U] map units in a substep
    dy: Array  # [U] map units in a substep
    target: Array  # [U] int32; a unit's own index where it has none
    heals: Array  # [U] bool


def orders(rules: Rules, actions: Array, types: Array) -> Orders:
    """Actions ``[U]`` as displacements and targets."""
    n, total = rules.n_allies, rules.n_units
    index = np.arange(total)
    stride = look_up(rules.table("speed"), types) * SECONDS
    direction = jnp.array(MOVES)[jnp.minimum(actions, STOP)]
    slot = actions - (STOP + 1)
    # The scripted team counts its targets from the last ally to the first.
    target = jnp.where(index < n, n + slot, n - 1 - slot)
    heals = jnp.zeros(total, bool)
    if rules.heals:
        heals = look_up(rules.table("heals"), types) > 0
        target = jnp.where(heals, jnp.where(index < n, slot, total - 1 - slot), target)
    exists = (slot >= 0) & (target >= 0) & (target < total)
    # A healer's slots may outnumber its team.
    exists &= (target < n) == ((index < n) == heals)
    target = jnp.where(exists, target, index)
    return Orders(direction[:, 0] * stride, direction[:, 1] * stride, target, heals)


def advance(
    rules: Rules, body: Body, told: Orders, types: Array, chance: Array
) -> Body:
    """One env step.

    Args:
        rules: the battle.
        body: units before.
        told: their orders.
        types: ``[U]``.
        chance: how many seconds more than its type's a unit's cooldown takes if it
            attacks in a substep, ``[SUBSTEPS, U]``.
    """
    fight, push = _fighter(rules, told, types), pusher(rules, types)

    def substep(body: Body, late: Array) -> tuple[Body, None]:
        x, y = _walk(rules, body, told)
        body = fight(body, late)._replace(x=x, y=y)
        if rules.walls_kill:
            touch = (x <= 0) | (x >= SIZE[0]) | (y <= 0) | (y >= SIZE[1])
            body = body._replace(health=jnp.where(touch, 0.0, body.health))
        return push(body), None

    def all_of_them(body: Body, chance: Array, unroll: int = 1) -> Body:
        return jax.lax.scan(substep, body, chance, unroll=unroll)[0]

    # One after another on a card, two fifths of the launches go with the loop; a CPU
    # takes up to five times as long for what it has then to schedule.
    straight = partial(all_of_them, unroll=len(chance))
    return jax.lax.platform_dependent(body, chance, cuda=straight, default=all_of_them)


def _walk(rules: Rules, body: Body, told: Orders) -> tuple[Array, Array]:
    """Positions of living units after their moves."""
    alive = body.health > 0
    x = jnp.where(alive, jnp.clip(body.x + told.dx, 0.0, SIZE[0]), body.x)
    y = jnp.where(alive, jnp.clip(body.y + told.dy, 0.0, SIZE[1]), body.y)
    return _around(rules, body, x, y)


def _around(rules: Rules, before: Body, x: Array, y: Array) -> tuple[Array, Array]:
    """Positions that are not inside of rock; units slide along it."""
    rock = rules.battle.choke
    if rock is None:
        return x, y

    def inside(x: Array, y: Array) -> Array:
        return (x > rock.left) & (x < rock.right) & ((y < rock.low) | (y > rock.high))

    x = jnp.where(inside(x, before.y), before.x, x)
    return x, jnp.where(inside(x, y), before.y, y)


def pusher(rules: Rules, types: Array) -> Callable[[Body], Body]:
    """Makes the function that moves living units apart that overlap."""
    radius = look_up(rules.table("radius"), types)

    def push(body: Body) -> Body:
        # A pair with a dead unit gets a negative reach, and so never overlaps.
        wide = jnp.where(body.health > 0, radius, -1e3)
        dx, dy = _apart(body.x), _apart(body.y)
        distance = jnp.sqrt(dx * dx + dy * dy) + 1e-6
        over = jax.nn.relu((wide[:, None] + wide) / distance - 1.0)
        x = body.x + 0.5 * (dx * over).sum(1)
        y = body.y + 0.5 * (dy * over).sum(1)
        x, y = _around(rules, body, x, y)
        return body._replace(x=x, y=y)

    return push


def _apart(values: Array) -> Array:
    """Differences of all pairs, row minus column."""
    return values[:, None] - values


def _fighter(rules: Rules, told: Orders, types: Array) -> Callable[[Body, Array], Body]:
    """Makes the function that settles attacks and healing of one substep."""
    reach = look_up(rules.table("reach") ** 2, types)
    pause = look_up(rules.table("cooldown"), types)
    armed = told.target != np.arange(rules.n_units)
    hurt = _hurter(rules, told, types)
    suicidal = _are(rules, types, "burst")

    def fight(body: Body, late: Array) -> Body:
        alive = body.health > 0
        away_x, away_y = body.x[told.target] - body.x, body.y[told.target] - body.y
        able = alive & alive[told.target] & armed
        able &= away_x * away_x + away_y * away_y < reach
        fires = able & (body.cooldown <= 0) & ~told.heals
        after = _wounded(rules, body, hurt(body, fires), types)
        cooldown = jnp.where(fires, pause + late, body.cooldown - SECONDS)
        if suicidal is not None:
            gone = fires & suicidal
            after = after._replace(health=jnp.where(gone, 0.0, after.health))
        if rules.heals:
            wounded = (body.health < look_up(rules.full, types))[told.target]
            price = unit.HEAL_A_SECOND * SECONDS * unit.ENERGY_A_HEALTH
            mends = able & told.heals & wounded & (body.cooldown >= price)
            after = _healed(rules, after, told, mends, types)
            energy = body.cooldown + unit.ENERGY_A_SECOND * SECONDS - price * mends
            healer = look_up(rules.table("heals"), types) > 0
            cooldown = jnp.where(healer, jnp.clip(energy, 0.0, pause), cooldown)
        return after._replace(cooldown=cooldown)

    return fight


def _wounded(rules: Rules, body: Body, damage: Array, types: Array) -> Body:
    """Units after damage ``[U]``; shields take it first."""
    if not rules.shields:
        return body._replace(health=jnp.maximum(body.health - damage, 0.0))
    absorbed = jnp.minimum(damage, body.shield)
    health = jnp.maximum(body.health - (damage - absorbed), 0.0)
    quiet = jnp.where(damage > 0, 0.0, body.quiet + SECONDS)
    back = (quiet > unit.SHIELD_DELAY) * (unit.SHIELD_A_SECOND * SECONDS)
    most = look_up(rules.full_shield, types)
    shield = jnp.minimum(body.shield - absorbed + back, most)
    return body._replace(health=health, shield=shield, quiet=quiet)


def _healed(rules: Rules, body: Body, told: Orders, mends: Array, types: Array) -> Body:
    """Units after healing; the dead stay dead."""
    index = np.arange(rules.n_units)
    helpers = ((told.target[:, None] == index) & mends[:, None]).sum(0)
    full = look_up(rules.full, types)
    health = jnp.minimum(body.health + helpers * (unit.HEAL_A_SECOND * SECONDS), full)
    return body._replace(health=jnp.where(body.health > 0, health, 0.0))


def _are(rules: Rules, types: Array, splash: str) -> Array | None:
    """Which units ``[U]`` have this splash; ``None`` where no type has."""
    marks = np.array([kind.splash == splash for kind in rules.kinds])
    return jnp.array(marks)[types] if marks.any() else None


def _hurter(rules: Rules, told: Orders, types: Array) -> Callable[[Body, Array], Array]:
    """Makes the function from who fires ``[U]`` to the damage ``[U]`` of all."""
    n, total = rules.n_allies, rules.n_units
    attack = look_up(rules.table("attack"), types)
    bonus = look_up(rules.table("bonus"), types)
    light = look_up(rules.table("light"), types)
    splash = _splasher(rules, types)

    def onto(body: Body, fires: Array, ours: slice, theirs: slice) -> Array:
        hits = told.target[ours, None] == np.arange(total)[theirs]
        if splash is not None:
            hits |= splash(body, told, ours, theirs)
        force = jnp.broadcast_to(attack[ours, None], hits.shape)
        if rules.table("bonus").any():
            force = force + bonus[ours, None] * light[theirs]
        return jnp.where(hits & fires[ours, None], force, 0.0).sum(0)

    allies, enemies = slice(0, n), slice(n, total)

    def hurt(body: Body, fires: Array) -> Array:
        on_allies = onto(body, fires, enemies, allies)
        return jnp.concatenate([on_allies, onto(body, fires, allies, enemies)])

    return hurt


def _splasher(rules: Rules, types: Array) -> Callable | None:
    """Makes the test of who else is hit ``[attackers, victims]``, if anyone can be."""
    bursts, beams = _are(rules, types, "burst"), _are(rules, types, "line")
    if bursts is None and beams is None:
        return None
    radius = look_up(rules.table("radius"), types)

    def splash(body: Body, told: Orders, ours: slice, theirs: slice) -> Array:
        x, y = body.x[ours, None], body.y[ours, None]
        far = (body.x[theirs] - x) ** 2 + (body.y[theirs] - y) ** 2
        hits = jnp.zeros(far.shape, bool)
        if bursts is not None:
            hits |= bursts[ours, None] & (far < unit.BURST_RADIUS**2)
        if beams is not None:
            aim_x, aim_y = (axis[told.target[ours]] for axis in (body.x, body.y))
            away_x, away_y = aim_x[:, None] - x, aim_y[:, None] - y
            length = jnp.sqrt(away_x**2 + away_y**2) + 1e-6
            off_x = body.x[theirs] - aim_x[:, None]
            off_y = body.y[theirs] - aim_y[:, None]
            along = jnp.abs(off_x * away_x + off_y * away_y) / length
            across = jnp.abs(off_x * away_y - off_y * away_x) / length
            line = (along < radius[theirs]) & (across < unit.LINE_HALF_LENGTH)
            hits |= beams[ours, None] & line
        return hits

    return splash


def body_of(units: Units, quiet: Array | None) -> Body:
    """Units as the substeps have them."""
    x, y = units.position.T
    return Body(x, y, units.health, units.cooldown, units.shield, quiet)
