"""CPU-seconds until a win rate is reached: JaxMARL's QMIX and ours.

The peer has its shipped settings but for the width of its networks (hidden 64, mixer
32), at which it is fastest, and ``peer_lr``. Ours is the default run. Each seed is a
program of its own. Seconds are those of learning, acting and evaluation, without
compilation; both evaluate greedily in 128 worlds about every 10,000 env steps, the peer
over the episodes that end within 128 steps. A win rate counts as reached when the mean
of the last three evaluations is no less.

The peer runs as shipped and corrected: ``qmix_rnn.py`` multiplies what comes after step
t by ``1 - dones[t]``, where ``dones[t]`` says that step t is an episode's first;
corrected, it reads ``dones[t + 1]``.
"""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from experiments.bench import peer
from experiments.bench.timing import busy_seconds
from experiments.bench.train import prepared

MASK = '1 - minibatch.dones["__all__"][:-1]'
CORRECTED = '1 - minibatch.dones["__all__"][1:]'
HIDDEN = 64
EVERY = 10_000  # env steps between evaluations
WORLDS = 128  # of an evaluation


class Point(NamedTuple):
    """One evaluation: env steps, busy seconds since training began, win rate."""

    steps: int
    seconds: float
    won: float


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each side and seed.

    Raises:
        ConfigError: no checkout of the peer is named.
    """
    path = peer.checkout(options["peer"])
    world, steps = options["map"], options["race_steps"]
    sides: dict[str, Callable[[int], Iterable[Point]]] = {
        "ours": lambda seed: _ours(world, seed, steps)
    }
    for name, source in {
        "JaxMARL": peer.source(path),
        "JaxMARL, mask corrected": corrected(peer.source(path)),
    }.items():
        module = peer.module(path, source)
        config = peer.settings(path, HIDDEN, world) | {"LR": options["peer_lr"]}
        sides[name] = lambda seed, m=module, c=config: _peer(m, c, seed, steps)
    rows = []
    for seed in options["seeds"] or range(5):
        for name, play in sides.items():
            rows.append(_row(name, world, seed, play(seed), options["win_rate"]))
            print(rows[-1], flush=True)
    return rows


def corrected(source: str) -> str:
    """The peer's learner with the mask of its TD targets on the right step.

    Raises:
        ValueError: another version of the file.
    """
    if source.count(MASK) != 1:
        raise ValueError(f"qmix_rnn.py: expected {MASK} once; another version?")
    return source.replace(MASK, CORRECTED)


def reached(points: Iterable[Point], goal: float) -> Point | None:
    """First evaluation at which the mean of the last three is at least ``goal``."""
    points = list(points)
    for three in zip(points, points[1:], points[2:], strict=False):
        if sum(point.won for point in three) / 3 >= goal:
            return three[-1]
    return None


def _row(
    who: str, world: str, seed: int, points: Iterable[Point], goal: float
) -> dict[str, Any]:
    """Plays on until the goal is reached, if points come one by one."""
    seen: list[Point] = []
    for point in points:
        seen.append(point)
        if reached(seen[-3:], goal):
            break
    found, last = reached(seen, goal), seen[-1]
    return {
        "QMIX of": who,
        "map": world,
        "seed": seed,
        f"busy seconds to {goal:g}": found and found.seconds,
        "env steps": found and found.steps,
        "best": max(point.won for point in seen),
        "busy seconds": last.seconds,
        "env steps, all": last.steps,
    }


def _ours(world: str, seed: int, steps: int) -> Iterator[Point]:
    """Evaluations of the default run, as they come."""
    import jax
    import jax.numpy as jnp

    from rolemarl_jax.program.compiled import compile_program
    from rolemarl_jax.program.program import Cursor
    from rolemarl_jax.run.legs import lay_out

    words = ["algo=qmix", f"env.map={world}", f"seed={seed}", f"total_steps={steps}"]
    cfg, program = prepared(words, seeds=1)
    compiled = compile_program(program, cfg)
    began = busy_seconds()
    state = compiled.init(jnp.array([seed], jnp.int32), {})
    for leg in lay_out(cfg, program):
        cursor = Cursor.at(leg.first * program.ticks, leg.update, leg.stage)
        state, _ = compiled.segment(state, cursor, jnp.asarray(leg.iterations))
        if leg.evaluate:
            won = float(jax.device_get(compiled.evaluate(state)).won.mean())
            done = (leg.first + leg.iterations) * program.ticks * program.worlds
            yield Point(done, busy_seconds() - began, won)


def _peer(
    module: ModuleType, config: dict[str, Any], seed: int, steps: int
) -> list[Point]:
    """Evaluations of the peer; its training is one call, which none can stop."""
    import jax

    interval = max(1, EVERY // peer.CHUNK)
    config |= {
        "TOTAL_TIMESTEPS": steps,
        "TEST_DURING_TRAINING": True,
        "TEST_INTERVAL": interval / (steps // peer.CHUNK) + 1e-6,
        "TEST_NUM_ENVS": WORLDS,
        "WANDB_MODE": "reported to us",
    }
    points: list[Point] = []

    def report(metrics: dict[str, Any]) -> None:
        if int(metrics["update_steps"]) % interval == 0:
            won = float(metrics["test_returned_won_episode"])
            points.append(Point(int(metrics["env_step"]), busy_seconds(), won))

    module.wandb.log = report
    train = peer.compiled(module, config, 1)
    began = busy_seconds()
    train(jax.random.split(jax.random.PRNGKey(seed), 1))
    jax.effects_barrier()
    return [point._replace(seconds=point.seconds - began) for point in points]
