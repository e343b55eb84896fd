"""How battles begin: two groups that face each other, or SMACv2's random starts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.battle.units import ENERGY_AT_START
from envs.battle.world import SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array, Key

SPREAD = 2.0  # of a group, to each side
CORNERS = np.array([(0.0, 0.0), (0.0, SIZE[1]), (SIZE[0], 0.0), SIZE], np.float32)
MIDDLE = np.array(SIZE, np.float32) / 2
# SMACv2's: from the middle to the nearest group, and to mirrored allies.
AROUND, GAP = 2.0, 1.0
MARGIN = 1.0  # between the border and SMACv2's starts


# An array, or None where the rules do without.
Maybe = Any


class Dice(NamedTuple):
    """All that is random in a start, in [0, 1).

    One draw for all: many small ones take seconds to compile.
    """

    place: Array  # [U, 2]
    member: Maybe  # [U] to which group a unit belongs
    group: Maybe  # [2, 4] how far groups are, and in which order
    toss: Maybe  # [3] which of the starts
    kind: Maybe  # [U] types
    other: Maybe  # [2] types in place of others


def starter(rules: Rules) -> Callable[[Key], Units]:
    """Makes the function from a key to the units of a new battle."""

    def start(key: Key) -> Units:
        dice = _throw(rules, key)
        if rules.types is None:
            types = _random_types(rules, dice)
        else:
            types = jnp.array(rules.types, jnp.int32)
        energy = look_up(rules.table("heals"), types) * ENERGY_AT_START
        return Units(
            position=PLACES[rules.battle.starts](rules, dice),
            health=look_up(rules.full, types),
            cooldown=energy,
            action=jnp.full(rules.n_units, STOP, jnp.int32),
            types=types,
            shield=look_up(rules.full_shield, types) if rules.shields else None,
            step=jnp.zeros((), jnp.int32),
        )

    return start


def _throw(rules: Rules, key: Key) -> Dice:
    """The dice that a battle needs."""
    n = rules.n_units
    scattered, mixed = rules.battle.starts != "facing", rules.types is None
    shapes = [(n, 2)]
    shapes += [(n,), (2, len(CORNERS)), (3,)] if scattered else []
    shapes += [(n,), (2,)] if mixed else []
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    drawn = jnp.split(jax.random.uniform(key, (ends[-1],)), ends[:-1])
    place, *more = [x.reshape(s) for x, s in zip(drawn, shapes, strict=True)]
    spread = more[:3] if scattered else [None] * 3
    return Dice(place, *spread, *(more[-2:] if mixed else [None] * 2))


def _noise(dice: Dice) -> Array:
    """Offsets ``[U, 2]`` of units in their group."""
    return (2 * dice.place - 1) * SPREAD


def _facing(rules: Rules, dice: Dice) -> Array:
    """Allies on the left, enemies on the right ``[U, 2]``."""
    ally = np.arange(rules.n_units)[:, None] < rules.n_allies
    centre = np.where(ally, [SIZE[0] / 4, SIZE[1] / 2], [SIZE[0] * 3 / 4, SIZE[1] / 2])
    return jnp.array(centre, jnp.float32) + _noise(dice)


def _jaxmarl(rules: Rules, dice: Dice) -> Array:
    """One team surrounded by the other, or both mirrored; evens."""
    inward = dice.group[0][:, None]
    spots = inward * MIDDLE + (1 - inward) * CORNERS
    group = (dice.member * len(CORNERS)).astype(jnp.int32)
    ally = np.arange(rules.n_units) < rules.n_allies
    inside = (ally == (dice.toss[1] < 0.5))[:, None]
    surrounded = jnp.where(inside, MIDDLE, spots[group]) + _noise(dice)
    return jnp.where(dice.toss[0] < 0.5, surrounded, _mirrored(rules, dice, 0.0))


def _smacv2(rules: Rules, dice: Dice) -> Array:
    """Allies surrounded by one to four groups, or mirrored; evens.

    SMACv2 puts whole groups on one point and lets the game part them; here units
    are spread around it; whoever is pushed over the border is put back.
    """
    corners = jnp.array(CORNERS)[dice.group[1].argsort()]
    inner = MIDDLE + jnp.sign(corners - MIDDLE) * AROUND
    inward = dice.group[0][:, None]
    spots = inward * inner + (1 - inward) * corners
    groups = 1 + jnp.floor(dice.toss[1] * len(CORNERS))
    ring = spots[jnp.floor(dice.member * groups).astype(jnp.int32)]
    ally = np.arange(rules.n_units)[:, None] < rules.n_allies
    surrounded = jnp.where(ally, MIDDLE, ring) + _noise(dice)
    return jnp.where(dice.toss[0] < 0.5, surrounded, _mirrored(rules, dice, GAP))


def _mirrored(rules: Rules, dice: Dice, gap: float) -> Array:
    """Allies anywhere on the left, enemies at their mirror images ``[U, 2]``.

    Allies keep ``gap`` away from the middle. Enemies beyond the number of allies are
    anywhere on the right.
    """
    n, m = rules.n_allies, rules.n_enemies
    half = np.full((max(n, m), 2), [SIZE[0] / 2, SIZE[1]])
    half[:n, 0] -= gap
    left = dice.place[: max(n, m)] * half
    right = jnp.array([SIZE[0], 0.0]) + left[:m] * jnp.array([-1.0, 1.0])
    return jnp.concatenate([left[:n], right])


# By the name of a battle's starts.
PLACES = {"facing": _facing, "jaxmarl": _jaxmarl, "smacv2": _smacv2}


def _random_types(rules: Rules, dice: Dice) -> Array:
    """Types ``[U]``, equal for both teams as far as they go.

    As in SMACv2, neither a team nor the units by which one is larger may all be
    healers, banelings or colossi.
    """
    n, m = rules.n_allies, rules.n_enemies
    few, most = min(n, m), max(n, m)
    drawn = _team(rules, dice.kind[:few], dice.other[0])
    if most > few:
        more = _team(rules, dice.kind[few:most], dice.other[1])
        drawn = jnp.concatenate([drawn, more])
    return jnp.concatenate([drawn[:n], drawn[:m]])


def _team(rules: Rules, chance: Array, other: Array) -> Array:
    """Types of units ``[K]``, not all of which are SMACv2's exceptions."""
    chances = rules.battle.weights or {}  # types that it leaves out never occur
    weights = np.array([chances.get(kind.name, 0.0) for kind in rules.kinds])
    healer = np.array([kind.heals for kind in rules.kinds])
    rare = healer | np.array([bool(kind.splash) for kind in rules.kinds])
    rare = healer if rare.all() else rare
    drawn = _pick(weights, chance)
    if not rare.any():
        return drawn
    alone = jnp.array(rare)[drawn].all()
    return drawn.at[0].set(jnp.where(alone, _pick(weights * ~rare, other), drawn[0]))


def _pick(weights: np.ndarray, chance: Array) -> Array:
    """Indices like ``chance``, drawn by weight."""
    ends = (weights.cumsum() / weights.sum()).astype(np.float32)
    return (chance[..., None] >= ends[:-1]).sum(-1)
