"""Many seeds in one program: speed, memory and share of the peak, by chunk size.

Arithmetic is that of the updates' matrix products, every branch taken; what acting
and evaluation need comes on top and is not counted. On a CPU all rates are by
processor time, elsewhere by the clock.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from experiments.bench import peer
from experiments.bench.timing import counted_gflop, peak_gflops
from experiments.bench.train import measured
from experiments.door.compose import composed
from rolemarl_jax.config import ConfigError

NO_MEMORY = "RESOURCE_EXHAUSTED"
PEER_HIDDEN = 64


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each algorithm, way of mapping and number of seeds.

    Args:
        options: ``algo``, ``map``, ``seeds``, ``seeds_by``, ``seconds`` and ``peer``.

    Raises:
        ConfigError: no checkout of the peer where one is named.
    """
    world = options["map"]
    words = {
        name: [f"algo={name}", f"env.map={world}"]
        for name in options["algo"] or ["qmix", "acorm"]
    }
    path = None if options["peer"] is None else peer.checkout(options["peer"])
    if path is not None:
        words["qmix as the peer's"] = peer.as_peer(PEER_HIDDEN, world)
    # Before anything is measured, for it refuses algorithms.
    gflop = {label: update_gflop(chosen) for label, chosen in words.items()}
    peak = peak_gflops()
    rows = []
    for label, chosen in words.items():
        for by in options["seeds_by"]:
            each = [*chosen, f"train.seeds_by={by}"]
            work = gflop[label], peak
            row = partial(_row, (label, world, by), each, options["seconds"], work)
            rows += sizes(options["seeds"], row)
    if path is not None:
        rows += sizes(
            options["seeds"],
            lambda n: _peer_row(peer.peer_speed(path, PEER_HIDDEN, world, n), world, n),
        )
    return rows


def sizes(
    asked: list[int], row: Callable[[int], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows for the numbers of seeds that were asked for, else until memory ends.

    Each is printed at once, as it may take long.
    """
    for seeds in asked or (2**k for k in itertools.count()):
        try:
            found = row(seeds)
        except MemoryError:
            return
        except Exception as error:
            if NO_MEMORY not in str(error):
                raise
            return
        print(found, flush=True)
        yield found


def _row(
    labels: tuple[str, str, str],
    chosen: list[str],
    seconds: float,
    work: tuple[float, float],
    seeds: int,
) -> dict[str, Any]:
    import jax

    found, (gflop, peak) = measured(chosen, seconds, seeds), work
    cpu = jax.default_backend() == "cpu"
    rate = found["updates per CPU-second" if cpu else "updates per second"]
    return _cells(
        (*labels, seeds),
        found["env steps per CPU-second" if cpu else "env steps per second"],
        found["env steps per second"],
        (gflop, gflop * rate / peak),
        (found["MiB a seed"], found["compile, s"]),
    )


def _peer_row(speed: float, world: str, seeds: int) -> dict[str, Any]:
    labels = "JaxMARL's qmix", world, "vmap", seeds
    return _cells(labels, speed, None, (None, None), (None, None))


def _cells(
    labels: tuple[str, str, str, int],
    rate: float,
    wall: float | None,
    work: tuple[float | None, float | None],
    cost: tuple[float | None, float | None],
) -> dict[str, Any]:
    """One row; that of the peer has the same columns."""
    names = "algo", "map", "seeds by", "seeds"
    return {
        **dict(zip(names, labels, strict=True)),
        "env steps per busy second": rate,
        "env steps per second": wall,
        "gflop an update": work[0],
        "of peak": work[1],
        "MiB a seed": cost[0],
        "compile, s": cost[1],
    }


def update_gflop(chosen: list[str]) -> float:
    """Matrix products of one seed's update, on the batches that a run samples."""
    import jax
    import jax.numpy as jnp

    import envs
    from rolemarl_jax.config import build
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.program.program import make_program
    from rolemarl_jax.run_config import RunConfig

    values = composed([*chosen, "seeds=1"]).values
    cfg = build(RunConfig, {**values, "run_dir": ""}, "")
    env = envs.make_compiled(cfg.env)
    learner = make_learner(cfg.algo, env.spec)
    if learner.experience == "fresh":
        raise ConfigError(
            f"algo: got {cfg.algo['name']}; allowed in suite=sweep: algorithms that "
            "replay"
        )
    memory = make_program(cfg, env, learner, jax.devices()[:1]).replay
    key = jax.random.key(0)
    batch = jax.eval_shape(lambda: memory.sample(memory.init(), key))
    state = jax.eval_shape(learner.init, key)
    return counted_gflop(learner.update, state, batch, jnp.zeros((), jnp.int32), key)
