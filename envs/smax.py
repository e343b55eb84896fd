"""SMAX on the Env protocol: JaxMARL's own simulator, or a faster one with more in it.

The time limit is told apart from the end of a battle, and the global state is
normalised unless ``state: raw`` asks for JaxMARL's own, from which QMIX does not
learn. docs/environments.md has all differences.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from envs.battle import fast, scripted
from envs.battle.observe import observer, sizes
from envs.battle.teams import Wish, find
from envs.battle.world import Rules, Units, allies, codec
from rolemarl_jax.config import ConfigError, Natural, NonNegative, config
from rolemarl_jax.types import Array, Env, EnvSpec, Key


@config
class Config:
    """SMAX (``configs/env/smax.yaml``).

    Attributes:
        name: of the environment.
        map: by name, or ``custom``.
        backend: JaxMARL's own simulator, or a faster one with more in it.
        allies: types and counts of a custom map; ``None`` elsewhere.
        enemies: likewise.
        random_positions: SMACv2's start positions; ``None`` keeps the map's.
        random_types: SMACv2's random types; ``None`` keeps the map's.
        type_weights: chances of random types; ``None`` keeps the map's, or equal ones.
        shields: whether they are counted apart from health, and come back.
        max_steps: time limit in JaxMARL's sense, one step less than an episode's most.
        walls_cause_death: units that touch the border of the map die.
        see_enemy_actions: whether last actions of visible enemies are observed.
        won_battle_bonus: reward of a win, on top of 1 for the damage.
        enemy_shoots: whether the scripted enemies attack.
        attack_mode: whom they attack.
        state: every feature of the global state in [0, 1], or JaxMARL's own.
    """

    name: Literal["smax"]
    map: str
    backend: Literal["jaxmarl", "fast"]
    allies: dict[str, Natural] | None
    enemies: dict[str, Natural] | None
    random_positions: bool | None
    random_types: bool | None
    type_weights: dict[str, NonNegative] | None
    shields: bool
    max_steps: Natural
    walls_cause_death: bool
    see_enemy_actions: bool
    won_battle_bonus: NonNegative
    enemy_shoots: bool
    attack_mode: Literal["closest", "random", "focus"]
    state: Literal["normalised", "raw"]


class Simulator(NamedTuple):
    """A battle without observations; its worlds are its own affair.

    Attributes:
        reset: ``key -> world``.
        step: ``(key, world, actions [N]) -> (world, Step)``.
        units: what there is to see of a world.
        restore: a world with these units, whatever else it remembers.
    """

    reset: Callable
    step: Callable
    units: Callable[[Any], Units]
    restore: Callable[[Units], Any]


class Reference(NamedTuple):
    """A scripted policy of the allies, to compare with.

    Attributes:
        memory: at the start of a battle.
        act: ``(world, memory, key) -> (actions [N], memory)``.
    """

    memory: scripted.Memory
    act: Callable[[Any, scripted.Memory, Key], tuple[Array, scripted.Memory]]


def make(cfg: Config) -> Env:
    """Makes the environment.

    Raises:
        ConfigError: unknown map, impossible teams, a time limit out of range, or
            a battle that the backend has not.
    """
    rules = rules_of(cfg)
    sim = _simulator(cfg, rules)
    see, (store, load) = observer(rules, raw=cfg.state == "raw"), codec(rules)
    obs_dim, state_dim = sizes(rules)
    spec = EnvSpec(
        name=f"smax/{cfg.map}",
        n_agents=rules.n_allies,
        n_actions=rules.n_actions,
        obs_dim=obs_dim,
        state_dim=state_dim,
        episode_limit=rules.steps,
        max_return=1.0 + cfg.won_battle_bonus,
        kinds=tuple(kind.name for kind in rules.kinds),
        # The last features of the own row, which is the last of all.
        own_type=obs_dim - len(rules.kinds),
    )
    return Env(
        spec=spec,
        reset=sim.reset,
        step=sim.step,
        observe=lambda state: see(sim.units(state)),
        pack=lambda state: store(sim.units(state)),
        unpack=lambda packed: sim.restore(load(packed)),
        bodies=lambda state: allies(rules, sim.units(state)),
    )


def reference(cfg: Config, pick: scripted.Pick) -> Reference:
    """Scripted allies, whom they attack by ``pick``, as enemies by ``attack_mode``."""
    rules = rules_of(cfg)
    sim = _simulator(cfg, rules)
    decide = scripted.decider(rules, scripted.team(rules, allies=True), pick)

    def act(
        state: Any, memory: scripted.Memory, key: Key
    ) -> tuple[Array, scripted.Memory]:
        chance = jax.random.uniform(key, (rules.n_allies, 2))
        return decide(sim.units(state), memory, chance)

    return Reference(scripted.blank(rules.n_allies), act)


def image(
    cfg: Config,
    state: Any,
    before: Any = None,
    roles: np.ndarray | None = None,
    size: int = 480,
) -> np.ndarray:
    """A world as RGB ``[H, W, 3]`` uint8; ``before`` is the world one step ago."""
    # Pictures need packages that training does without.
    from envs.battle import render

    rules = rules_of(cfg)
    units = _simulator(cfg, rules).units
    past = None if before is None else units(before)
    return render.image(rules, units(state), past, roles, size)


def film(
    cfg: Config, worlds: Any, roles: np.ndarray | None = None, size: int = 480
) -> list[np.ndarray]:
    """Worlds in a row, leaves ``[T, ...]``, as RGB; ``roles`` is ``[T, N]``."""
    from envs.battle import render

    rules, units = rules_of(cfg), _units(cfg, worlds)
    steps = [
        jax.tree.map(lambda leaf, t=t: leaf[t], units) for t in range(len(units.step))
    ]
    return render.frames(rules, steps, roles, size)


def sketch(cfg: Config, worlds: Any) -> dict[str, Any]:
    """Worlds in a row, leaves ``[T, ...]``, as plain data to draw them from."""
    from envs.battle import sketch

    return sketch.sketch(rules_of(cfg), _units(cfg, worlds))


def _units(cfg: Config, worlds: Any) -> Units:
    """What there is to see of worlds in a row."""
    seen = jax.vmap(_simulator(cfg, rules_of(cfg)).units)(worlds)
    return jax.tree.map(np.asarray, seen)


def rules_of(cfg: Config) -> Rules:
    """The battle's rules.

    Raises:
        ConfigError: as ``make``.
    """
    if not 0 <= cfg.max_steps < 2**16 - 1:
        raise ConfigError(f"env.max_steps: got {cfg.max_steps}; allowed: 0 to 65534")
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


def _simulator(cfg: Config, rules: Rules) -> Simulator:
    """The backend."""
    if cfg.backend == "fast":
        return Simulator(*fast.dynamics(rules), fast.units, fast.restorer(rules))
    # Its import takes seconds, and the other backend does without.
    from envs.battle import original

    sim = original.simulator(rules)
    return Simulator(*original.dynamics(sim), original.units, original.restorer(sim))
