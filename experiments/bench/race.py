"""CPU-seconds and env steps until a win rate is held: our algorithms and JaxMARL's.

Ours are default runs. The peer's QMIX has its shipped settings but for the width of
its networks (hidden 64, mixer 32), at which it is fastest, and ``peer_lr``; its PQN-VDN
runs as shipped (512 units, two layers) and at our sizes (64, one layer). Each seed is a
program of its own. Seconds are those of learning, acting and evaluation, without
compilation; all evaluate greedily in 128 worlds about every 10,000 env steps, the peer
over the episodes that end within 128 steps. A win rate counts as held when the mean of
the last three evaluations is no less.

The peer's QMIX runs as shipped and corrected: ``qmix_rnn.py`` multiplies what comes
after step t by ``1 - dones[t]``, where ``dones[t]`` says that step t is an episode's
first; corrected, it reads ``dones[t + 1]``. Its PQN has no such fault.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments.bench import peer
from experiments.bench.timing import busy_seconds
from experiments.bench.train import prepared
from rolemarl_jax.config import ConfigError, nearest

OURS = ("qmix", "mappo", "pqn_vdn", "pqn_qmix")
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


class Peer(NamedTuple):
    """One form of a learner of JaxMARL's."""

    file: str
    settings: str  # file of its configuration
    chunk: int  # env steps between two rounds of updates
    changes: dict[str, Any]
    corrected: bool = False


PEERS = {
    "QMIX": Peer("qmix_rnn", "ql_rnn_smax", peer.CHUNK, peer.sizes(HIDDEN)),
    "QMIX, mask corrected": Peer(
        "qmix_rnn", "ql_rnn_smax", peer.CHUNK, peer.sizes(HIDDEN), corrected=True
    ),
    "PQN-VDN": Peer("pqn_vdn_rnn", "pqn_vdn_rnn_smax", 128 * 128, {}),
    "PQN-VDN at our sizes": Peer(
        "pqn_vdn_rnn",
        "pqn_vdn_rnn_smax",
        128 * 128,
        {"HIDDEN_SIZE": HIDDEN, "NUM_LAYERS": 1},
    ),
}


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each side and seed.

    Raises:
        ConfigError: no checkout of the peer is named, or one of its learners that is
            not listed here.
    """
    world, rows = options["map"], []
    sides: dict[str, Callable[[int], Iterable[Point]]] = {
        name: partial(_ours, name, world, options["race_steps"])
        for name in options["algo"] or OURS
    }
    for name in options["peers"]:
        if name not in PEERS:
            raise ConfigError(f"peers: got '{name}'; {nearest(name, PEERS)}")
        path = peer.checkout(options["peer"])
        sides[f"JaxMARL's {name}"] = partial(_peer, PEERS[name], path, options)
    for seed in options["seeds"] or range(5):
        for name, play in sides.items():
            rows.append(_row(name, world, seed, play(seed), options["win_rate"]))
            print(rows[-1], flush=True)
    return rows + summary(rows, options["win_rate"])


def summary(rows: list[dict[str, Any]], goal: float) -> list[dict[str, Any]]:
    """Median and range over seeds, for sides in which every seed held the goal.

    A side some of whose seeds did not has the seconds that it ran for as a bound.
    """
    key = f"busy seconds to {goal:g}"
    found = []
    for name in dict.fromkeys(row["learner"] for row in rows):
        mine = [row for row in rows if row["learner"] == name]
        held = [row for row in mine if row[key] is not None]
        whole = len(held) == len(mine)
        found.append(
            {
                "learner, all seeds": name,
                "map": mine[0]["map"],
                "held by": f"{len(held)} of {len(mine)}",
                "median busy seconds": _middle(held, key) if whole else None,
                "least and most": _range(held, key),
                "median env steps": _middle(held, "env steps") if whole else None,
            }
        )
    return found


def _middle(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def _range(rows: list[dict[str, Any]], key: str) -> str | None:
    values = [row[key] for row in rows]
    return f"{min(values):.1f} to {max(values):.1f}" if values else None


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
        "learner": who,
        "map": world,
        "seed": seed,
        f"busy seconds to {goal:g}": found and found.seconds,
        "env steps": found and found.steps,
        "best": max(point.won for point in seen),
        "busy seconds": last.seconds,
        "env steps, all": last.steps,
    }


def _ours(name: str, world: str, steps: int, seed: int) -> Iterator[Point]:
    """Evaluations of a default run, as they come."""
    from rolemarl_jax.program.compiled import compile_program

    words = [f"algo={name}", f"env.map={world}", f"seed={seed}"]
    words += [f"total_steps={steps}", f"log_every={EVERY}"]
    cfg, program = prepared(words, seeds=1)
    yield from evaluations(cfg, program, compile_program(program, cfg))


def evaluations(cfg: Any, program: Any, compiled: Any) -> Iterator[Point]:
    """A run from its beginning: its evaluations' means over all seeds, as they come."""
    import jax
    import jax.numpy as jnp

    from rolemarl_jax import members
    from rolemarl_jax.program.program import Cursor
    from rolemarl_jax.run.legs import lay_out

    began = busy_seconds()
    state = compiled.init(*members.arrays(cfg, program.members))
    for leg in lay_out(cfg, program):
        cursor = Cursor.at(leg.first * program.ticks, leg.update, leg.stage)
        state, _ = compiled.segment(state, cursor, jnp.asarray(leg.iterations))
        if leg.evaluate:
            won = float(jax.device_get(compiled.evaluate(state)).won.mean())
            done = (leg.first + leg.iterations) * program.ticks * program.worlds
            yield Point(done, busy_seconds() - began, won)


def _peer(side: Peer, path: Path, options: dict[str, Any], seed: int) -> list[Point]:
    """Evaluations of the peer; its training is one call, which none can stop."""
    import jax

    steps, interval = options["race_steps"], max(1, EVERY // side.chunk)
    text = peer.source(path, side.file)
    module = peer.module(path, corrected(text) if side.corrected else text, side.file)
    config = peer.settings(path, side.settings, options["map"]) | side.changes
    config |= {
        "TOTAL_TIMESTEPS": steps,
        "TEST_DURING_TRAINING": True,
        "TEST_INTERVAL": interval / (steps // side.chunk) + 1e-6,
        "TEST_NUM_ENVS": WORLDS,
        "WANDB_MODE": "reported to us",
    }
    if side.file == "qmix_rnn":
        config["LR"] = options["peer_lr"]
    points: list[Point] = []

    def report(metrics: dict[str, Any], **_step: Any) -> None:
        if int(metrics["update_steps"]) % interval == 0:
            won = float(metrics["test_returned_won_episode"])
            points.append(Point(int(metrics["env_step"]), busy_seconds(), won))

    module.wandb.log = report
    train = peer.compiled(module, config, 1)
    began = busy_seconds()
    train(jax.random.split(jax.random.PRNGKey(seed), 1))
    jax.effects_barrier()
    return [point._replace(seconds=point.seconds - began) for point in points]
