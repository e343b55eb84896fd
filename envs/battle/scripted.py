"""Scripted teams: JaxMARL's heuristic, from geometry instead of observations.

A unit goes on attacking whom it attacked, else it attacks the closest (or a random)
enemy in reach; if none is, it follows a random one in sight; if none is, it heads for
the point opposite of where it first stood. With focus it always attacks the weakest in
reach and follows the closest in sight. Healers look after the closest wounded.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.battle.world import SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array

NOBODY = -1
FAR = 1e9
Pick = Literal["closest", "random", "focus"]
Deed = Callable[[Units, "Memory", Array], tuple[Array, "Memory"]]


class Memory(NamedTuple):
    """What the K scripted units of a team remember."""

    goal: Array  # [K, 2] float32, zero until the first decision
    last: Array  # [K] int32, whom they attacked last, or NOBODY


class Team(NamedTuple):
    """The units of a scripted team and of the other, in the order of action slots.

    Attributes:
        own: who acts, in the order of the units.
        others: the other team.
        mates: the team itself, whom healers heal.
    """

    own: slice
    others: slice
    mates: slice


def team(rules: Rules, *, allies: bool) -> Team:
    """Either team; JaxMARL's enemies count all slots from the last to the first."""
    n, total = rules.n_allies, rules.n_units
    if allies:
        return Team(slice(0, n), slice(n, total), slice(0, n))
    return Team(slice(n, total), slice(n - 1, None, -1), slice(total - 1, n - 1, -1))


def blank(units: int) -> Memory:
    """Nothing to remember."""
    return Memory(jnp.zeros((units, 2)), jnp.full(units, NOBODY, jnp.int32))


def decider(rules: Rules, who: Team, pick: Pick, *, shoots: bool = True) -> Deed:
    """Makes the policy of a team.

    Returns:
        A function of the world, the memory and chances ``[K, 2]`` in [0, 1), which
        gives actions ``[K]`` and the new memory.
    """
    focus = pick == "focus"

    def decide(world: Units, memory: Memory, chance: Array) -> tuple[Array, Memory]:
        own, types = world.position[who.own], world.types[who.own]
        others, health = world.position[who.others], world.health[who.others]
        away = others - own[:, None]
        far = (away**2).sum(-1)
        both = (world.health[who.own] > 0)[:, None] & (health > 0)
        seen = both & (far < look_up(rules.table("sight") ** 2, types)[:, None])
        near = seen & (far < look_up(rules.table("reach") ** 2, types)[:, None])
        cost = far + health * 1e4 if focus else far
        victim = _victim(pick, near, cost, memory.last, chance[:, 0])
        attacks = near.any(1) & shoots
        first = (memory.goal == 0).all(1) & (memory.last == NOBODY)
        goal = jnp.where(first[:, None], np.array(SIZE) - own, memory.goal)
        prey = _least(seen, far) if focus else _pick(seen, chance[:, 1])
        aim = jnp.where(seen.any(1)[:, None], others[prey], goal)
        if rules.heals:
            healer = look_up(rules.table("heals"), types) > 0
            patient, mends, place = _care(rules, world, who)
            victim = jnp.where(healer, patient, victim)
            attacks = jnp.where(healer, mends, attacks)
            aim = jnp.where(healer[:, None], place, aim)
        action = jnp.where(attacks, victim + STOP + 1, _move(rules, own, aim))
        held = jnp.minimum(victim, len(others) - 1)[:, None]
        hit = jnp.take_along_axis(near, held, 1)[:, 0]
        last = jnp.where(hit, victim, NOBODY)
        return action.astype(jnp.int32), Memory(goal, last.astype(jnp.int32))

    return decide


def _victim(pick: Pick, near: Array, cost: Array, last: Array, chance: Array) -> Array:
    """Slot ``[K]`` of whom to attack; means nothing where nobody is in reach."""
    new = _pick(near, chance) if pick == "random" else _least(near, cost)
    if pick == "focus":
        return new
    held = jnp.take_along_axis(near, jnp.maximum(last, 0)[:, None], 1)[:, 0]
    return jnp.where((last != NOBODY) & held, last, new)


def _least(among: Array, cost: Array) -> Array:
    """The cheapest column ``[K]`` among those marked in each row of ``[K, J]``."""
    return jnp.where(among, cost, FAR).argmin(1)


def _pick(among: Array, chance: Array) -> Array:
    """A random column ``[K]`` among those marked in each row of ``[K, J]``."""
    rank = among.cumsum(1)
    # In (0, count], as `jax.random.choice` rounds.
    drawn = (1.0 - chance) * rank[:, -1]
    return (rank >= drawn[:, None]).argmax(1)


def _move(rules: Rules, own: Array, aim: Array) -> Array:
    """The move ``[K]`` that brings units closest to where they want to be."""
    x, y = (_detour(rules, own, aim) - own).T
    return jnp.stack([y, x, -y, -x]).argmax(0)


def _detour(rules: Rules, own: Array, aim: Array) -> Array:
    """``aim``, or the mouth of the gap while rock is between."""
    rock = rules.battle.choke
    if rock is None:
        return aim
    middle_x, middle_y = (rock.left + rock.right) / 2, (rock.low + rock.high) / 2
    across = (own[:, 0] - middle_x) * (aim[:, 0] - middle_x) < 0
    lined_up = (own[:, 1] > rock.low) & (own[:, 1] < rock.high)
    side = jnp.where(own[:, 0] < middle_x, rock.left, rock.right)
    mouth = jnp.stack([side, jnp.full_like(side, middle_y)], 1)
    # In the gap, straight through it.
    through = jnp.stack([aim[:, 0], own[:, 1]], 1)
    path = jnp.where(lined_up[:, None], through, mouth)
    return jnp.where(across[:, None], path, aim)


def _care(rules: Rules, world: Units, who: Team) -> tuple[Array, Array, Array]:
    """For healers: slot of the patient, whether to heal it, where to go.

    Returns:
        ``[K]`` int, ``[K]`` bool, ``[K, 2]``. The closest wounded comes first, then
        the closest who lives.
    """
    own, others = world.position[who.own], world.position[who.mates]
    health, types = world.health[who.mates], world.types[who.mates]
    far = ((others - own[:, None]) ** 2).sum(-1)
    able = (health > 0) & ~(look_up(rules.table("heals"), types) > 0)
    wounded = able & (health < look_up(rules.full, types))
    # Squares of distances are below 1e4; with FAR, float32 could not tell them apart.
    cost = far + jnp.where(wounded, 0.0, jnp.where(able, 1e4, 1e6))
    patient = cost.argmin(1)
    reach = look_up(rules.table("reach") ** 2, world.types[who.own])
    mends = (cost.min(1) < reach) & (world.health[who.own] > 0)
    return patient, mends, jnp.where(able.any(), others[patient], own)
