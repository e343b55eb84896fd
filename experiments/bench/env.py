"""Steps per second of the fast battle against JaxMARL's, and where the time goes.

Both play the same loop: random available actions, worlds that end begin again, and
observations, global state and masks of every step are rendered and used.
"""

import statistics
from collections.abc import Callable
from typing import Any

from experiments.bench.timing import busy, measure
from experiments.door.compose import composed

ROUNDS = 3


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each map, then one for each map and part of a step."""
    worlds, steps = options["worlds"], options["steps"]
    rows = [_race(name, worlds, steps) for name in options["maps"]]
    return rows + [row for name in options["maps"] for row in _parts(name, worlds)]


def _env(map_name: str) -> Any:
    import envs

    values = composed(["env=smax", f"env.map={map_name}"]).values
    return envs.make_compiled(values["env"])


def _race(map_name: str, worlds: int, steps: int) -> dict[str, Any]:
    """Both simulators, one after the other in each round."""
    import jax

    racing = loops(map_name, worlds, steps)
    taken: dict[str, list[float]] = {name: [] for name in racing}
    for _ in range(ROUNDS):
        for name, loop in racing.items():
            one = busy(measure(loop, jax.random.key(0), seconds=2.0))
            taken[name].append(one / (steps * worlds))
    us = {name: 1e6 * statistics.median(times) for name, times in taken.items()}
    row: dict[str, Any] = {"map": map_name, "worlds": worlds}
    for name in ("fast", "JaxMARL"):
        row[f"{name}, us a step"] = us.get(name)
        row[f"{name}, steps/s"] = 1e6 / us[name] if name in us else None
    row["times as fast"] = us["JaxMARL"] / us["fast"] if "JaxMARL" in us else None
    return row


def loops(map_name: str, worlds: int, steps: int) -> dict[str, Callable[[Any], Any]]:
    """Ours, ``fast``, and JaxMARL's where it has the map: functions of a key."""
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    found = {"fast": _ours(map_name, worlds, steps)}
    if map_name in MAP_NAME_TO_SCENARIO:
        found["JaxMARL"] = _theirs(map_name, worlds, steps)
    return found


def _ours(map_name: str, worlds: int, steps: int) -> Callable[[Any], Any]:
    """The loop of a rollout: everything is rendered once a step."""
    import jax
    import jax.numpy as jnp

    env = _env(map_name)

    def tick(states: Any, key: Any) -> Any:
        one, two, three = jax.random.split(key, 3)
        seen = jax.lax.optimization_barrier(jax.vmap(env.observe)(states))
        noise = jax.random.uniform(two, seen.avail.shape)
        actions = jnp.argmax(noise * seen.avail, axis=-1)
        keys = jax.random.split(one, worlds)
        moved, step = jax.vmap(env.step)(keys, states, actions)
        fresh = jax.vmap(env.reset)(jax.random.split(three, worlds))
        ended = step.terminated | step.truncated

        def choose(new: Any, old: Any) -> Any:
            return jnp.where(ended.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        used = seen.obs.sum() + seen.state.sum() + step.reward.sum()
        return jax.tree.map(choose, fresh, moved), used

    def play(key: Any) -> Any:
        states = jax.vmap(env.reset)(jax.random.split(key, worlds))
        return jax.lax.scan(tick, states, jax.random.split(key, steps))

    return play


def _theirs(map_name: str, worlds: int, steps: int) -> Callable[[Any], Any]:
    """JaxMARL's own loop: its ``step`` resets by itself and renders."""
    import jax
    import jax.numpy as jnp
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    sim = HeuristicEnemySMAX(scenario=map_name_to_scenario(map_name))

    def tick(states: Any, key: Any) -> Any:
        one, two = jax.random.split(key)
        avail = jnp.stack(list(jax.vmap(sim.get_avail_actions)(states).values()), 1)
        noise = jax.random.uniform(two, avail.shape)
        chosen = jnp.argmax(noise * avail, axis=-1)
        actions = dict(zip(sim.agents, chosen.T, strict=True))
        keys = jax.random.split(one, worlds)
        obs, states, rewards, _, _ = jax.vmap(sim.step)(keys, states, actions)
        obs = jax.lax.optimization_barrier(obs)
        used = sum(x.sum() for x in obs.values()) + rewards[sim.agents[0]].sum()
        return states, used

    def play(key: Any) -> Any:
        _, states = jax.vmap(sim.reset)(jax.random.split(key, worlds))
        return jax.lax.scan(tick, states, jax.random.split(key, steps))

    return play


def _parts(map_name: str, worlds: int) -> list[dict[str, Any]]:
    """What a step of the fast battle is made of, each part alone."""
    import jax
    import jax.numpy as jnp

    env = _env(map_name)
    keys = jax.random.split(jax.random.key(0), worlds)
    states = jax.jit(jax.vmap(env.reset))(keys)
    actions = jnp.full((worlds, env.spec.n_agents), 4)
    parts = {
        "step": (lambda s: jax.vmap(env.step)(keys, s, actions), states),
        "reset": (lambda k: jax.vmap(env.reset)(k), keys),
        "observe": (jax.vmap(env.observe), states),
        "pack": (jax.vmap(env.pack), states),
    }
    row: dict[str, Any] = {"map": map_name}
    for name, (function, arg) in parts.items():
        row[f"{name}, us"] = 1e6 * busy(measure(function, arg, seconds=1.0)) / worlds
    return [row]
