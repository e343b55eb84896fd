"""Speed of the bridge without a game: steps, acting, recovery.

The scripted world stands in for StarCraft II, at the sizes of 2s3z. Nothing is learned
meanwhile, so this is an upper bound for the bridge, not the speed of a run.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.door.compose import composed

GAMES = ((0.0, 0.0), (5.0, 0.0), (5.0, 0.8))  # milliseconds of a step, jitter
SIZES = ["env.n_agents=5", "env.extra_obs=72", "env.episode_limit=60", "env.goal=500"]


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each number of workers and kind of game, and one of recovery."""
    seconds = min(float(options["seconds"]), 10.0)
    rows = [
        _speed(workers, step_ms, jitter, seconds)
        for workers in options["workers"]
        for step_ms, jitter in GAMES
    ]
    return [*rows, *_recovery()]


class _Bench:
    """A pool, a policy that acts in it, and what was measured."""

    def __init__(self, pool: Any, cfg: Any) -> None:
        import jax

        from rolemarl_jax.bridge.acting import Actor, make_act
        from rolemarl_jax.bridge.collect import Collector
        from rolemarl_jax.learners import make_learner

        self.pool = pool
        self.collector = Collector(pool, cfg.bridge["max_wait_ms"] / 1000)
        learner = make_learner(cfg.algo, pool.spec)
        self._state = jax.jit(learner.init)(jax.random.key(0))
        act = make_act(learner, greedy=False)
        self._actor = Actor(learner, len(pool.slots), act, jax.random.key(1))
        self.latency: list[float] = []
        self.width: list[int] = []
        self._ids = 0
        self.episodes: list[Any] = []

    def play(self, more: Any, lost: Any = lambda _: None) -> float:
        """Plays while ``more()``; returns seconds."""
        from rolemarl_jax.bridge.collect import Stretch

        began = time.perf_counter()
        stretch = Stretch(
            more=more,
            begin=self._next,
            act=self._act,
            finished=self.episodes.append,
            lost=lost,
            turn=lambda: None,
        )
        self.collector.play(stretch)
        return time.perf_counter() - began

    def _next(self) -> int:
        self._ids += 1
        return self._ids

    def _act(self, seen: Any, ready: Any, fresh: Any) -> Any:
        began = time.perf_counter()
        actions = self._actor(self._state, seen, ready, fresh, 0)
        self.latency.append(time.perf_counter() - began)
        self.width.append(int(ready.sum()))
        return actions


@contextmanager
def _bench(workers: int, step_ms: float, jitter: float) -> Iterator[_Bench]:
    import envs
    from experiments.door import resume
    from rolemarl_jax.bridge import opening
    from rolemarl_jax.types import Remote

    words = ["algo=qmix", "env=scripted", "run_dir=none", *SIZES]
    words += [f"env.step_ms={step_ms}", f"env.jitter={jitter}"]
    cfg = resume.resolve(composed([*words, f"bridge.workers={workers}"]))
    world = envs.make(cfg.env)
    assert isinstance(world, Remote)
    with opening.opened(cfg, world) as pool:
        bench = _Bench(pool, cfg)
        bench.play(lambda: len(bench.episodes) < workers)  # compiles
        bench.latency.clear()
        bench.width.clear()
        bench.episodes.clear()
        yield bench


def _speed(workers: int, step_ms: float, jitter: float, seconds: float) -> Any:
    import numpy as np

    with _bench(workers, step_ms, jitter) as bench:
        until = time.perf_counter() + seconds
        took = bench.play(lambda: time.perf_counter() < until)
        steps = sum(one.length for one in bench.episodes)
        return {
            "workers": workers,
            "game step ms": step_ms,
            "jitter": jitter,
            "steps/s": steps / took,
            "act p50 ms": 1e3 * float(np.median(bench.latency)),
            "act p95 ms": 1e3 * float(np.quantile(bench.latency, 0.95)),
            "workers an act": float(np.mean(bench.width)),
        }


def _recovery() -> list[dict[str, Any]]:
    """From a SIGKILL to the same worker's first answer, pause before it included."""
    found = []
    with _bench(2, 5.0, 0.0) as bench:
        for index in (0, 1, 0):
            slot = bench.pool.slots[index]
            process, before = slot.child.process, slot.generation
            os.killpg(process.pid, signal.SIGKILL)
            began = time.perf_counter()
            back: list[float] = []

            def more(
                slot: Any = slot, before: int = before, back: list[float] = back
            ) -> bool:
                if slot.generation > before and slot.episodes and slot.step > 0:
                    back.append(time.perf_counter())
                return not back

            bench.play(more)
            found.append(back[0] - began)
    return [{"workers": 2, "recovery s (three kills)": max(found)}]
