"""How battles begin: two groups that face each other, or SMACv2's random starts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from envs.battle.units import ENERGY_AT_START
from envs.battle.world import SIZE, STOP, Rules, Units, look_up
from rolemarl_jax.types import Array, Key

SPREAD = 2.0  # of a group, to each side
# SMACv2's: from the middle to the nearest group, and to mirrored allies.
AROUND, GAP = 2.0, 1.0
MARGIN = 1.0  # between the border and SMACv2's starts
CORNERS = ((0.0, 0.0), (0.0, SIZE[1]), (SIZE[0], 0.0), SIZE)


def starter(rules: Rules) -> Callable[[Key], Units]:
    """Makes the function from a key to the units of a new battle."""

    def start(key: Key) -> Units:
        place, kind = jax.random.split(key)
        if rules.types is None:
            types = _random_types(rules, kind)
        else:
            types = jnp.array(rules.types, jnp.int32)
        position = PLACES[rules.battle.starts](rules, place)
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


def _jaxmarl(rules: Rules, key: Key) -> Array:
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
    mirrored = _mirrored(keys[2], n, m, 0.0)
    return jnp.where(jax.random.bernoulli(which), surrounded, mirrored)


def _surrounded(key: Key, n: int, m: int) -> tuple[Array, Array]:
    """``n`` units in the middle ``[n, 2]``, ``m`` on the diagonals ``[m, 2]``."""
    centre, group, far, ring = jax.random.split(key, 4)
    middle = np.array(SIZE) / 2
    inward = jax.random.uniform(far, (len(CORNERS), 1))
    spots = inward * middle + (1 - inward) * jnp.array(CORNERS)
    chosen = spots[jax.random.randint(group, (m,), 0, len(CORNERS))]
    return middle + _noise(centre, n), chosen + _noise(ring, m)


def _smacv2(rules: Rules, key: Key) -> Array:
    """Allies surrounded by one to four groups, or mirrored; evens.

    SMACv2 puts whole groups on one point and lets the game part them; here units
    are spread around it; whoever is pushed over the border is put back.
    """
    which, noise, many, member, order, far, mirror = jax.random.split(key, 7)
    n, m = rules.n_allies, rules.n_enemies
    groups = jax.random.randint(many, (), 1, len(CORNERS) + 1)
    corners = jax.random.permutation(order, jnp.array(CORNERS))
    middle = np.array(SIZE) / 2
    inner = middle + jnp.sign(corners - middle) * AROUND
    inward = jax.random.uniform(far, (len(CORNERS), 1))
    spots = inward * inner + (1 - inward) * corners
    ring = spots[jax.random.randint(member, (m,), 0, groups)]
    centre = jnp.broadcast_to(jnp.array(middle, jnp.float32), (n, 2))
    surrounded = jnp.concatenate([centre, ring]) + _noise(noise, n + m)
    mirrored = _mirrored(mirror, n, m, GAP)
    return jnp.where(jax.random.bernoulli(which), surrounded, mirrored)


def _mirrored(key: Key, n: int, m: int, gap: float) -> Array:
    """Allies anywhere on the left, enemies at their mirror images ``[n + m, 2]``.

    Allies keep ``gap`` away from the middle. Enemies beyond the number of allies are
    anywhere on the right.
    """
    half = np.array([SIZE[0] / 2 - gap, SIZE[1]])
    left = jax.random.uniform(key, (max(n, m), 2)) * half
    right = jnp.array([SIZE[0], 0.0]) + left[:m] * jnp.array([-1.0, 1.0])
    return jnp.concatenate([left[:n], right])


# By the name of a battle's starts.
PLACES = {"facing": _facing, "jaxmarl": _jaxmarl, "smacv2": _smacv2}


def _random_types(rules: Rules, key: Key) -> Array:
    """Types ``[U]``, equal for both teams as far as they go.

    As in SMACv2, neither a team nor the units by which one is larger may all be
    healers or banelings.
    """
    n, m = rules.n_allies, rules.n_enemies
    weights = rules.battle.weights or {}
    chances = np.array([weights[kind.name] for kind in rules.kinds])
    drawn = [_draw(rules, jax.random.fold_in(key, 0), min(n, m), chances)]
    if n != m:
        drawn.append(_draw(rules, jax.random.fold_in(key, 1), abs(n - m), chances))
    most = jnp.concatenate(drawn)
    return jnp.concatenate([most[:n], most[:m]]).astype(jnp.int32)


def _draw(rules: Rules, key: Key, n: int, chances: np.ndarray) -> Array:
    """Types ``[n]``, not all of which depend on others."""
    healer = np.array([kind.heals for kind in rules.kinds])
    needy = healer | np.array([kind.splash == "burst" for kind in rules.kinds])
    needy = healer if needy.all() else needy
    one, two = jax.random.split(key)
    drawn = jax.random.categorical(one, jnp.log(chances), shape=(n,))
    if not needy.any():
        return drawn
    other = jax.random.categorical(two, jnp.log(chances * ~needy))
    alone = jnp.array(needy)[drawn].all()
    return drawn.at[0].set(jnp.where(alone, other, drawn[0]))
