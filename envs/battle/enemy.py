"""The scripted team: JaxMARL's heuristic, from geometry instead of observations.

A unit goes on attacking whom it attacked, else it attacks the closest (or a random)
enemy in reach; if none is, it follows a random one in sight; if none is, it heads for
the point opposite of where it first stood. Healers look after the closest wounded.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.battle.world import SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array

NOBODY = -1
FAR = 1e9


class Memory(NamedTuple):
    """What scripted units remember."""

    goal: Array  # [E, 2] float32, zero until the first decision
    last: Array  # [E] int32, whom they attacked last, or NOBODY


def blank(rules: Rules) -> Memory:
    """Nothing to remember."""
    n = rules.n_enemies
    return Memory(jnp.zeros((n, 2)), jnp.full(n, NOBODY, jnp.int32))


def decider(rules: Rules) -> Callable[[Units, Memory, Array], tuple[Array, Memory]]:
    """Makes the policy.

    Returns:
        A function of the world, the memory and chances ``[E, 2]`` in [0, 1), which
        gives actions ``[E]`` and the new memory.
    """
    n = rules.n_allies

    def decide(world: Units, memory: Memory, chance: Array) -> tuple[Array, Memory]:
        own, types = world.position[n:], world.types[n:]
        # Slots count allies from the last to the first, as JaxMARL's do.
        others = world.position[:n][::-1]
        away = others - own[:, None]
        far = (away**2).sum(-1)
        both = (world.health[n:] > 0)[:, None] & (world.health[:n] > 0)[::-1]
        seen = both & (far < look_up(rules.table("sight") ** 2, types)[:, None])
        near = seen & (far < look_up(rules.table("reach") ** 2, types)[:, None])
        victim = _victim(rules, near, far, memory.last, chance[:, 0])
        attacks = near.any(1) & rules.enemies_shoot
        first = (memory.goal == 0).all(1) & (memory.last == NOBODY)
        goal = jnp.where(first[:, None], np.array(SIZE) - own, memory.goal)
        prey = others[_pick(seen, chance[:, 1])]
        aim = jnp.where(seen.any(1)[:, None], prey, goal)
        if rules.heals:
            healer = look_up(rules.table("heals"), types) > 0
            patient, mends, place = _care(rules, world)
            victim = jnp.where(healer, patient, victim)
            attacks = jnp.where(healer, mends, attacks)
            aim = jnp.where(healer[:, None], place, aim)
        action = jnp.where(attacks, victim + STOP + 1, _move(rules, own, aim))
        hit = jnp.take_along_axis(near, victim[:, None] % n, 1)[:, 0]
        last = jnp.where(hit, victim, NOBODY)
        return action.astype(jnp.int32), Memory(goal, last.astype(jnp.int32))

    return decide


def _victim(rules: Rules, near: Array, far: Array, last: Array, chance: Array) -> Array:
    """Slot ``[E]`` of whom to attack; means nothing where nobody is in reach."""
    if rules.enemies_pick == "random":
        new = _pick(near, chance)
    else:
        new = jnp.where(near, far, FAR).argmin(1)
    held = jnp.take_along_axis(near, jnp.maximum(last, 0)[:, None], 1)[:, 0]
    return jnp.where((last != NOBODY) & held, last, new)


def _pick(among: Array, chance: Array) -> Array:
    """A random column ``[E]`` among those marked in each row of ``[E, K]``."""
    rank = among.cumsum(1)
    # In (0, count], as `jax.random.choice` rounds.
    drawn = (1.0 - chance) * rank[:, -1]
    return (rank >= drawn[:, None]).argmax(1)


def _move(rules: Rules, own: Array, aim: Array) -> Array:
    """The move ``[E]`` that brings units closest to where they want to be."""
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


def _care(rules: Rules, world: Units) -> tuple[Array, Array, Array]:
    """For healers: slot of the patient, whether it is in reach, where to go.

    Returns:
        ``[E]`` int, ``[E]`` bool, ``[E, 2]``. The closest wounded comes first, then
        the closest who lives.
    """
    n = rules.n_allies
    # Slots of the scripted team count from its last unit to its first.
    team = slice(rules.n_units - 1, n - 1, -1)
    own, others = world.position[n:], world.position[team]
    far = ((others - own[:, None]) ** 2).sum(-1)
    healer = look_up(rules.table("heals"), world.types[team]) > 0
    able = (world.health[team] > 0) & ~healer
    wounded = able & (world.health[team] < look_up(rules.full, world.types[team]))
    cost = far + jnp.where(wounded, 0.0, jnp.where(able, FAR / 2, FAR))
    patient = cost.argmin(1)
    reach = look_up(rules.table("reach") ** 2, world.types[n:])
    mends = (cost.min(1) < reach) & (world.health[n:] > 0)
    return patient, mends, jnp.where(able.any(), others[patient], own)
