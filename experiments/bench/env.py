"""Steps per second of the simulator, and where the time goes."""

from typing import Any

from experiments.bench.timing import busy, measure
from experiments.compose import composed


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each map and part of a step, ``options["worlds"]`` at once."""
    return [
        row
        for name in options["maps"]
        for row in _rows(name, options["worlds"], options["steps"])
    ]


def _rows(map_name: str, worlds: int, steps: int) -> list[dict[str, Any]]:
    """Ours with resets, its parts, and JaxMARL's own ``step``."""
    import jax

    import envs

    env = envs.make_compiled(composed([f"env.map={map_name}"]).values["env"])
    key = jax.random.key(0)
    keys = jax.random.split(key, worlds)
    states = jax.jit(jax.vmap(env.reset))(keys)
    see, pack = jax.vmap(env.observe), jax.vmap(env.pack)

    def act(states: Any, key: Any) -> Any:
        noise = jax.random.uniform(key, see(states).avail.shape)
        return jax.numpy.argmax(noise * see(states).avail, axis=-1)

    def play(key: Any) -> Any:
        def tick(states: Any, key: Any) -> Any:
            one, two, three = jax.random.split(key, 3)
            moved, step = jax.vmap(env.step)(
                jax.random.split(one, worlds), states, act(states, two)
            )
            fresh = jax.vmap(env.reset)(jax.random.split(three, worlds))
            ended = step.terminated | step.truncated
            pick = jax.vmap(lambda end, a, b: jax.tree.map(_choose(end), a, b))
            return pick(ended, fresh, moved), step.reward.sum()

        return jax.lax.scan(tick, states, jax.random.split(key, steps))

    actions = jax.jit(act)(states, key)
    parts = {
        "step, resets, random actions": (play, (key,), steps),
        "step": (lambda s: jax.vmap(env.step)(keys, s, actions), (states,), 1),
        "reset": (lambda k: jax.vmap(env.reset)(k), (keys,), 1),
        "observe": (see, (states,), 1),
        "pack": (pack, (states,), 1),
        "JaxMARL's step, random actions": (
            _peer(map_name, worlds, steps),
            (key,),
            steps,
        ),
    }
    rows = []
    for name, (function, args, many) in parts.items():
        seconds = busy(measure(function, *args, seconds=2.0)) / (many * worlds)
        row = {"map": map_name, "worlds": worlds, "part": name, "us": 1e6 * seconds}
        rows.append({**row, "steps/s": 1 / seconds})
    return rows


def _choose(end: Any) -> Any:
    import jax.numpy as jnp

    return lambda a, b: jnp.where(end, a, b)


def _peer(map_name: str, worlds: int, steps: int) -> Any:
    """JaxMARL's own loop: its ``step`` resets by itself and observes twice."""
    import jax
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    sim = HeuristicEnemySMAX(scenario=map_name_to_scenario(map_name))

    def play(key: Any) -> Any:
        _, states = jax.vmap(sim.reset)(jax.random.split(key, worlds))

        def tick(states: Any, key: Any) -> Any:
            one, two = jax.random.split(key)
            avail = jax.vmap(sim.get_avail_actions)(states)

            actions = {
                agent: jax.numpy.argmax(
                    jax.random.uniform(jax.random.fold_in(two, i), mask.shape) * mask,
                    axis=-1,
                )
                for i, (agent, mask) in enumerate(avail.items())
            }
            _, states, rewards, _, _ = jax.vmap(sim.step)(
                jax.random.split(one, worlds), states, actions
            )
            return states, rewards[sim.agents[0]].sum()

        return jax.lax.scan(tick, states, jax.random.split(key, steps))

    return play
