"""Training end to end: env steps per CPU-second and per wall second."""

import time
from typing import Any

from experiments.bench.timing import cpu_seconds
from experiments.door.compose import composed


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each algorithm on ``options["map"]`` with the default run."""
    names = options["algo"] or ["qmix", "acorm"]
    world = options["map"]
    return [
        {
            "algo": name,
            "map": world,
            **measured([f"algo={name}", f"env.map={world}"], options["seconds"]),
        }
        for name in names
    ]


def prepared(chosen: list[str], seeds: int) -> tuple[Any, Any]:
    """Configuration and program of a run on one device.

    Args:
        chosen: what would stand on the command line of ``experiments.run``.
    """
    import jax

    import envs
    from rolemarl_jax.config import build
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.program.program import make_program
    from rolemarl_jax.run_config import RunConfig

    values = composed([*chosen, f"seeds={seeds}"]).values
    cfg = build(RunConfig, {**values, "run_dir": ""}, "")
    env = envs.make_compiled(cfg.env)
    learner = make_learner(cfg.algo, env.spec)
    return cfg, make_program(cfg, env, learner, jax.devices()[:1])


def measured(chosen: list[str], seconds: float, seeds: int = 1) -> dict[str, Any]:
    """Speed of training; rates are of all seeds together.

    Segments are as long as those of a run, whatever the seeds: mapping copies each
    seed's state once a segment, so that shorter ones would charge many seeds for it.

    Args:
        chosen: what would stand on the command line of ``experiments.run``.
        seconds: how long to measure, after compilation and warm-up.
        seeds: in one program, on one device.

    Raises:
        MemoryError: the device has less than the program needs.
    """
    import jax
    import jax.numpy as jnp

    from rolemarl_jax import members
    from rolemarl_jax.program.compiled import compile_program
    from rolemarl_jax.program.program import Cursor
    from rolemarl_jax.sweep.fit import memory_bytes

    cfg, program = prepared(chosen, seeds)
    compiled = compile_program(program, cfg)
    if compiled.peak > memory_bytes(None):
        raise MemoryError(f"{seeds} seeds need {compiled.peak / 1e9:.1f} GB")
    warm = program.stages[0].iterations or 0
    last = len(program.stages) - 1
    state = compiled.init(*members.arrays(cfg, seeds))

    def segment(state: Any, first: int, stage: int, count: int) -> Any:
        made = (first - warm) * program.updates if stage else 0
        at = Cursor.at(first * program.ticks, made, stage)
        return compiled.segment(state, at, jnp.asarray(count, jnp.int32))

    state, _ = jax.block_until_ready(segment(state, 0, 0, warm))
    done, leg = 0, max(1, cfg.log_every // (program.ticks * program.worlds))
    state, _ = jax.block_until_ready(segment(state, warm, last, leg))
    wall, cpu = time.perf_counter(), cpu_seconds()
    while time.perf_counter() - wall < seconds:
        done += leg
        state, tally = segment(state, warm + done, last, leg)
        jax.block_until_ready(state)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    steps = done * program.ticks * program.worlds * seeds
    valid = tally.sums.get("td/valid_steps")
    return {
        "env steps per CPU-second": steps / cpu,
        "env steps per second": steps / wall,
        "updates per second": done * program.updates * seeds / wall,
        "updates per CPU-second": done * program.updates * seeds / cpu,
        "MiB a seed": compiled.peak / seeds / 2**20,
        "compile, s": compiled.seconds,
        "valid steps": None
        if valid is None
        else float(valid[0] / tally.counts["td/valid_steps"][0]),
    }
