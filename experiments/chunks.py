"""A run of more seeds than fit at once: chunks, one after another.

Each chunk is a run of its own in ``run_dir/chunks/<first>-<last>``: it is resumed,
evaluated and drawn like any other, and once finished never computed again. The rows of
all chunks come together in ``run_dir/metrics.jsonl``.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments import rundir
from rolemarl_jax import members
from rolemarl_jax.config import ConfigError, RunConfig

FOLDER = "chunks"
NO_MEMORY = "RESOURCE_EXHAUSTED"


def plan(cfg: RunConfig) -> RunConfig:
    """The configuration with ``sweep.chunk`` set; prints the plan where one is made.

    Raises:
        ConfigError: a chunk that does not fit.
    """
    import jax

    import envs
    from rolemarl_jax import sweep
    from rolemarl_jax.checkpoint import state_bytes
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.program import make_program, sweepable
    from rolemarl_jax.types import Remote

    chosen = cfg.sweep.chunk is not None and not cfg.sweep.plan_only
    if chosen and not cfg.sweep.hypers:
        return cfg
    if not 0 < cfg.sweep.fraction <= 1:
        raise ConfigError(f"sweep.fraction: got {cfg.sweep.fraction}; allowed: (0, 1]")
    env = envs.make(cfg.env)
    if isinstance(env, Remote):
        return cfg
    learner = make_learner(cfg.algo, env.spec)
    members.check(cfg, sweepable(learner))
    if chosen:
        return cfg
    one = make_program(replace(cfg, seeds=1), env, learner, jax.devices()[:1])
    kept = state_bytes(jax.eval_shape(one.init, jax.numpy.zeros(1, int)))
    if not sweep.needs_plan(cfg, kept):
        return cfg
    found = sweep.make_plan(cfg, env, learner)
    print(
        f"{cfg.algo['name']} on {env.spec.name}: {found.seeds} seeds"
        f"{members.times(cfg)}, {found.seed / 1e6:.1f} MB each and "
        f"{found.fixed / 1e6:.1f} MB once, in {found.memory / 1e9:.1f} GB: "
        f"{found.chunks} chunk(s) of {found.chunk}"
    )
    return replace(cfg, sweep=replace(cfg.sweep, chunk=found.chunk))


def run(
    cfg: RunConfig, train: Callable[[RunConfig], None], merged: Callable[[], None]
) -> None:
    """Trains chunk after chunk; one that exceeds the memory is halved and begun anew.

    Args:
        train: runs one chunk. merged: called when rows of a chunk have been added.

    Raises:
        ConfigError: a single seed exceeds the memory.
    """
    size = cfg.sweep.chunk or cfg.seeds
    rundir.create(cfg)
    merge(cfg)
    todo = deque(_parts(cfg, cfg.seed, cfg.seed + cfg.seeds, size))
    while todo:
        first, last = todo.popleft()
        part = _chunk(cfg, first, last)
        if _finished(part):
            continue
        try:
            train(part)
        except Exception as error:
            if NO_MEMORY not in str(error):
                raise
            if first == last:
                alone = f"seed {first}{members.times(cfg)} alone"
                raise ConfigError(f"sweep.chunk: {alone} is too much") from error
            half = (last - first + 1) // 2
            print(f"out of memory with {last - first + 1} seeds; going on with {half}")
            shutil.rmtree(part.run_dir, ignore_errors=True)
            todo.extendleft(reversed([*_parts(cfg, first, last + 1, half)]))
            continue
        merge(cfg)
        merged()


def folders(run_dir: Path | str) -> list[Path]:
    """Run directories of the chunks in order of their seeds; of others, themselves."""
    parts = sorted(Path(run_dir, FOLDER).glob("*-*"))
    return parts or [Path(run_dir)]


def merge(cfg: RunConfig) -> None:
    """Rewrites ``metrics.jsonl`` with the rows of all chunks."""
    from rolemarl_jax import loggers

    out = Path(cfg.run_dir) / loggers.METRICS
    scratch = out.with_suffix(".tmp")
    with scratch.open("wb") as file:
        for folder in folders(cfg.run_dir):
            part = folder / loggers.METRICS
            if folder != Path(cfg.run_dir) and part.exists():
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
    scratch.replace(out)


def _parts(
    cfg: RunConfig, start: int, stop: int, size: int
) -> Iterator[tuple[int, int]]:
    """First and last seed of each chunk; those that were halved before stay so."""
    for first in range(start, stop, size):
        last = min(stop, first + size) - 1
        half = (last - first + 1) // 2
        began = partial(Path, cfg.run_dir, FOLDER)
        if half and began(_name(first, first + half - 1)).exists():
            yield from _parts(cfg, first, last + 1, half)
        else:
            yield first, last


def _name(first: int, last: int) -> str:
    return f"{first:06d}-{last:06d}"


def _chunk(cfg: RunConfig, first: int, last: int) -> RunConfig:
    """Configuration of one chunk, resumed where it has been saved."""
    from rolemarl_jax.runner import CHECKPOINTS

    folder = Path(cfg.run_dir) / FOLDER / _name(first, last)
    saved = (folder / CHECKPOINTS).exists()
    if not saved:
        shutil.rmtree(folder, ignore_errors=True)  # rows of no checkpoint
    sweep = replace(cfg.sweep, chunk=last - first + 1)
    return replace(
        cfg,
        run_dir=str(folder),
        seed=first,
        seeds=last - first + 1,
        resume=saved,
        sweep=sweep,
    )


def _finished(part: RunConfig) -> bool:
    """Whether a chunk has been trained to ``total_steps``."""
    from rolemarl_jax import summary

    found = summary.read(Path(part.run_dir))
    return found is not None and found["env_steps"] >= part.total_steps
