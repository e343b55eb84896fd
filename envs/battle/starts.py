"""How battles begin: two groups that face each other, or SMACv2's random starts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from envs.battle.units import ENERGY_AT_START
from envs.battle.world import SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array, Key

SPREAD = 2.0  # of a group, to each side
MARGIN = 1.0  # between the border and a clipped start position
CORNERS = ((0.0, 0.0), (0.0, SIZE[1]), (SIZE[0], 0.0), SIZE)


def starter(rules: Rules) -> Callable[[Key], Units]:
    """Makes the function from a key to the units of a new battle."""

    def start(key: Key) -> Units:
        place, kind = jax.random.split(key)
        if rules.types is None:
            types = _random_types(rules, kind)
        else:
            types = jnp.array(rules.types, jnp.int32)
        if rules.battle.random_positions:
            position = _random_positions(rules, place)
        else:
            position = _facing(rules, place)
        energy = look_up(rules.table("heals"), types) * ENERGY_AT_START
        return Units(
            position=position,
            health=look_up(rules.full, types),
            cooldown=energy,
            action=jnp.full(rules.n_units, STOP, jnp.int32),
            types=types,
            shield=look_up(rules.full_shield, types) if rules.shields else None,
            step=jnp.zeros((), jnp.int32),
        )

    return start


def _noise(key: Key, n: int) -> Array:
    """Offsets ``[n, 2]`` of the units of a group."""
    return jax.random.uniform(key, (n, 2), minval=-SPREAD, maxval=SPREAD)


def _facing(rules: Rules, key: Key) -> Array:
    """Allies on the left, enemies on the right ``[U, 2]``."""
    ally = np.arange(rules.n_units)[:, None] < rules.n_allies
    centre = np.where(ally, [SIZE[0] / 4, SIZE[1] / 2], [SIZE[0] * 3 / 4, SIZE[1] / 2])
    return jnp.array(centre, jnp.float32) + _noise(key, rules.n_units)


def _random_positions(rules: Rules, key: Key) -> Array:
    """One team surrounded by the other, or both mirrored; evens."""
    which, inner, *keys = jax.random.split(key, 5)
    n, m = rules.n_allies, rules.n_enemies
    ally_side, enemy_side = _surrounded(keys[0], n, m)
    enemy_centre, ally_ring = _surrounded(keys[1], m, n)
    surrounded = jnp.where(
        jax.random.bernoulli(inner),
        jnp.concatenate([ally_side, enemy_side]),
        jnp.concatenate([ally_ring, enemy_centre]),
    )
    mirrored = _mirrored(keys[2], n, m)
    position = jnp.where(jax.random.bernoulli(which), surrounded, mirrored)
    if rules.battle.clipped:
        position = jnp.clip(position, MARGIN, np.array(SIZE) - MARGIN)
    return position


def _surrounded(key: Key, n: int, m: int) -> tuple[Array, Array]:
    """``n`` units in the middle ``[n, 2]``, ``m`` on the diagonals ``[m, 2]``."""
    centre, group, far, ring = jax.random.split(key, 4)
    middle = np.array(SIZE) / 2
    inward = jax.random.uniform(far, (len(CORNERS), 1))
    spots = inward * middle + (1 - inward) * jnp.array(CORNERS)
    chosen = spots[jax.random.randint(group, (m,), 0, len(CORNERS))]
    return middle + _noise(centre, n), chosen + _noise(ring, m)


def _mirrored(key: Key, n: int, m: int) -> Array:
    """Allies anywhere on the left, enemies at their mirror images ``[n + m, 2]``.

    Enemies beyond the number of allies are anywhere on the right.
    """
    half = np.array([SIZE[0] / 2, SIZE[1]])
    left = jax.random.uniform(key, (max(n, m), 2)) * half
    right = jnp.array([SIZE[0], 0.0]) + left[:m] * jnp.array([-1.0, 1.0])
    return jnp.concatenate([left[:n], right])


def _random_types(rules: Rules, key: Key) -> Array:
    """Types ``[U]``, equal for both teams as far as they go."""
    n, m = rules.n_allies, rules.n_enemies
    weights = rules.battle.weights or {}
    names = [kind.name for kind in rules.kinds]
    chances = jnp.array([weights[name] for name in names])
    drawn = jax.random.categorical(key, jnp.log(chances), shape=(max(n, m),))
    if rules.heals:
        # A team of healers only could not fight.
        fighter = names.index(max(weights, key=lambda name: weights[name]))
        alone = (look_up(rules.table("heals"), drawn[: min(n, m)]) > 0).all()
        drawn = drawn.at[0].set(jnp.where(alone, fighter, drawn[0]))
    return jnp.concatenate([drawn[:n], drawn[:m]]).astype(jnp.int32)
