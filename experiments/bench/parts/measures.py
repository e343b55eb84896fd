"""What ``suite=attached`` measures of a machine's device, each in two steps.

Every function is a generator that compiles, yields ``None``, and then measures and
yields a row (``turns``). Nothing is put on the device before its turn.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from experiments.bench.parts.turns import Row

LEAST = 3  # calls of which the median is taken


def products(size: int, seconds: float) -> Iterator[Row | None]:
    """Peak rates of square matrix products, and of a copy."""
    import jax
    import jax.numpy as jnp

    repeats = 10

    def chain(precision: str) -> Callable[[Any], Any]:
        def multiply(x: Any) -> Any:
            def once(_: Any, y: Any) -> Any:
                return jnp.dot(x, y, precision=precision) * size**-0.5

            return jax.lax.fori_loop(0, repeats, once, x)

        return jax.jit(multiply)

    def copy(x: Any) -> Any:
        return jax.lax.fori_loop(0, repeats, lambda _, y: -y, x)

    forms = {
        "float32": ("highest", jnp.float32),
        "float32, products as by default": ("default", jnp.float32),
        "bfloat16": ("default", jnp.bfloat16),
    }
    square = partial(jax.ShapeDtypeStruct, (size, size))
    compiled = {
        name: chain(precision).lower(square(kind)).compile()
        for name, (precision, kind) in forms.items()
    }
    moved = jax.jit(copy).lower(square(jnp.float32)).compile()
    yield None
    x = jax.random.normal(jax.random.key(0), (size, size))
    row: Row = {"size": size}
    for name, (_, kind) in forms.items():
        taken = median_seconds(compiled[name], (x.astype(kind),), seconds)
        row[f"{name}, TFLOP/s"] = repeats * 2 * size**3 / taken / 1e12
    taken = median_seconds(moved, (x,), seconds)
    row["copy, GB/s"] = repeats * 2 * x.nbytes / taken / 1e9
    yield row


def battle(map_name: str, worlds: int, steps: int, seconds: float) -> Iterator[Any]:
    """The simulator alone, ours and JaxMARL's: random actions, all rendered."""
    import jax

    from experiments.bench import env

    key = jax.random.key(0)
    loops = {
        name: jax.jit(loop).lower(key).compile()
        for name, loop in env.loops(map_name, worlds, steps).items()
    }
    yield None
    rates = {
        name: worlds * steps / median_seconds(loop, (key,), seconds)
        for name, loop in loops.items()
    }
    theirs = rates.get("JaxMARL")
    yield {
        "ours, env steps/s": rates["fast"],
        "JaxMARL's, env steps/s": theirs,
        "times as fast": theirs and rates["fast"] / theirs,
    }


def training(words: list[str], seeds: int, seconds: float) -> Iterator[Row | None]:
    """Iterations of a run's last stage: collection and updates of all seeds.

    Args:
        words: what would stand on the command line of ``experiments.run``.
    """
    import jax

    from experiments.bench.train import prepared
    from rolemarl_jax import members
    from rolemarl_jax.program.compiled import compile_training, peak
    from rolemarl_jax.program.program import Cursor

    began = time.perf_counter()
    cfg, program = prepared(words, seeds)
    init, segment, _ = compile_training(program, cfg)
    compiling = time.perf_counter() - began
    inferred = inferred_seconds(segment, len(program.stages))
    yield None
    state = init(*members.arrays(cfg, seeds))
    last, warm = len(program.stages) - 1, program.stages[0].iterations or 0
    done = 0

    def advance(stage: int, iterations: int) -> float:
        nonlocal state, done
        at = Cursor.at(done * program.ticks, done, stage)
        count = jax.numpy.asarray(iterations, jax.numpy.int32)
        began = time.perf_counter()
        state, _ = jax.block_until_ready(segment(state, at, count))
        done += iterations
        return time.perf_counter() - began

    advance(0, warm)
    advance(last, 1)
    count = max(1, int(seconds / LEAST / advance(last, 1)))
    taken = sorted(advance(last, count) for _ in range(LEAST))[LEAST // 2] / count
    steps, spent = program.ticks * program.worlds * seeds, used_bytes()
    yield {
        "ms an iteration": 1e3 * taken,
        "inferred ms": inferred and 1e3 * inferred,
        "env steps/s, all seeds": steps / taken,
        "updates/s, all seeds": program.updates * seeds / taken,
        "planned GB": peak(segment) / 1e9,
        "used GB": spent and spent / 1e9,
        "compile, s": compiling,
    }


def goal(
    words: list[str], seeds: int, win_rate: float, seconds: float
) -> Iterator[Row | None]:
    """A run from its beginning until the mean of all seeds holds a win rate.

    Held: the mean of three evaluations in a row. Given up after so many seconds.
    """
    from experiments.bench import race
    from experiments.bench.train import prepared
    from rolemarl_jax.program.compiled import compile_program

    cfg, program = prepared(words, seeds)
    compiled = compile_program(program, cfg)
    yield None
    points: list[race.Point] = []
    for point in race.evaluations(cfg, program, compiled):
        points.append(point)
        if point.seconds > seconds or race.reached(points[-3:], win_rate):
            break
    found, last = race.reached(points, win_rate), points[-1]
    yield {
        f"seconds to {win_rate:g}": found and found.seconds,
        "env steps a seed": found and found.steps,
        "highest": max(point.won for point in points),
        "seconds, all": last.seconds,
        "env steps/s, all seeds": seeds * last.steps / last.seconds,
        "compile, s": compiled.seconds,
    }


def peers(path: str, world: str, seeds: int, hidden: int) -> Iterator[Row | None]:
    """Speed of JaxMARL's QMIX while learning, all seeds in one program."""
    from pathlib import Path

    from experiments.bench import peer

    speed = peer.speed(Path(path), hidden, world, seeds)
    next(speed)
    yield None
    yield {"env steps/s, all seeds": next(speed)}


def median_seconds(function: Any, args: tuple, seconds: float) -> float:
    """Of a call by the clock, the first one left out."""
    import jax

    jax.block_until_ready(function(*args))
    taken, until = [], time.perf_counter() + seconds
    while len(taken) < LEAST or time.perf_counter() < until:
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]


def inferred_seconds(segment: Any, stages: int) -> float | None:
    """``suite=card``'s figure for the same program, where it knows the device."""
    import jax

    from experiments.bench import card as inference
    from rolemarl_jax.sweep.cards import target

    if jax.default_backend() == "cpu":
        return None
    card, _ = target.target(None)
    least, _ = inference.kernels(segment, stages, stages - 1, 1)
    return inference.together(least, card).seconds


def used_bytes() -> int | None:
    """Most bytes that this process has had on the device, where it says so."""
    import jax

    found = jax.local_devices()[0].memory_stats() or {}
    return found.get("peak_bytes_in_use")
