"""A run of more seeds than fit at once: chunks, one after another.

Each chunk is a run of its own in ``run_dir/chunks/<first>-<last>``: it is resumed,
evaluated and drawn like any other, and once finished never computed again. The rows of
all chunks come together in ``run_dir/metrics.jsonl``. Chunks may be those of several
processes; whoever finishes one brings together what is there.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, lock, rundir
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.program import swept
from rolemarl_jax.program.program import SeedState, seed_shapes
from rolemarl_jax.report import summary
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.sweep import fit, halving
from rolemarl_jax.sweep.shares import ALONE, Share
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import Env

NO_MEMORY = "RESOURCE_EXHAUSTED"


def plan(cfg: RunConfig, env: Env, learner: Learner) -> RunConfig:
    """The configuration with ``sweep.chunk`` set; prints the plan where one is made.

    Raises:
        ConfigError: a seed or a chunk that does not fit.
    """
    # What was planned before stays as it is, however much memory is free now.
    if cfg.sweep.chunk is not None and cfg.resume and not cfg.sweep.plan_only:
        return cfg
    swept.check(cfg, learner)
    shapes = seed_shapes(cfg, env, learner)
    fit.require_room(cfg, tree_bytes(shapes), tree_bytes(shapes.replay))
    if not fit.needs_plan(cfg, tree_bytes(shapes)):
        return cfg
    fitted = fit.make_plan(cfg, env, learner)
    print(
        f"{cfg.algo['name']} on {env.spec.name}: {fitted.seeds} seeds"
        f"{members.times(cfg)}, {fitted.seed / 1e6:.1f} MB each and "
        f"{fitted.fixed / 1e6:.1f} MB once, in {fitted.memory / 1e9:.1f} GB"
        f"{f' of one {cfg.sweep.card}' if cfg.sweep.card else ''}: "
        f"{fitted.chunks} chunk(s) of {fitted.chunk}"
    )
    chunk = cfg.sweep.chunk or fitted.chunk
    return replace(cfg, sweep=replace(cfg.sweep, chunk=chunk))


def run(
    cfg: RunConfig,
    train: Callable[[RunConfig], None],
    merged: Callable[[], None],
    shapes: SeedState,
    share: Share = ALONE,
) -> None:
    """Trains chunk after chunk; one that exceeds the memory goes on as two halves.

    Args:
        cfg: of the whole run.
        train: runs one chunk.
        merged: called when rows of a chunk have been added.
        shapes: of what one member keeps.
        share: chunk k belongs to process k modulo their number.

    Raises:
        ConfigError: a single seed exceeds the memory.
    """
    if share == ALONE:
        rundir.create(cfg)
    merge(cfg)
    todo = deque(_chunks(cfg, share))
    while todo:
        first, last = todo.popleft()
        part = _chunk(cfg, first, last)
        if _finished(part):
            continue
        fault = _attempt(train, part)
        if fault is not None:
            todo.extendleft(reversed(_halve(cfg, part, fault, shapes)))
            continue
        _gather(cfg, merged)
    # Whoever trained the last chunk may have ended before it brought them together.
    if complete(cfg) and not _finished(cfg):
        _gather(cfg, merged)


def complete(cfg: RunConfig) -> bool:
    """Whether all chunks of all processes have been trained to the end."""
    return all(_finished(_chunk_at(cfg, *ends)) for ends in _chunks(cfg, ALONE))


def _attempt(train: Callable[[RunConfig], None], part: RunConfig) -> str | None:
    """Trains a chunk; the fault if it exceeded the memory.

    The exception ends here, because what it holds is the memory in question. A full
    disk has the same name there and is none.
    """
    try:
        with files.full_disk_told(part.run_dir):
            train(part)
    except ConfigError:
        raise
    except Exception as error:
        if NO_MEMORY not in str(error):
            raise
        return str(error).strip().split("\n")[0][:200]
    return None


def _halve(
    cfg: RunConfig,
    part: RunConfig,
    fault: str,
    shapes: SeedState,
) -> list[tuple[int, int]]:
    """Halves of a chunk that go on from its last checkpoint; their seeds."""
    first, last = part.seed, part.seed + part.seeds - 1
    if first == last:
        raise ConfigError(f"sweep.chunk: seed {first} alone is too much ({fault})")
    half = part.seeds // 2
    ends = [*_cut(first, last, half)]
    with lock.held(part.run_dir, "run_dir"):
        at = halving.split(part, [_chunk_at(cfg, *pair) for pair in ends], shapes)
    where = "anew" if at is None else f"from {at} env steps"
    print(f"out of memory with {part.seeds} seeds; going on {where} with {half}")
    return ends


def _gather(cfg: RunConfig, merged: Callable[[], None]) -> None:
    """Rows and summary of all chunks, again until no other was finished meanwhile.

    So whoever writes old rows over newer ones knows it and writes once more.
    """
    done = None
    while done != (done := _done(cfg)):
        merge(cfg)
        merged()


def _done(cfg: RunConfig) -> set[str]:
    """Names of the chunks that have a summary."""
    summaries = Path(cfg.run_dir, rundir.CHUNKS).glob(f"*-*/{rundir.SUMMARY}")
    return {path.parent.name for path in summaries}


def merge(cfg: RunConfig) -> None:
    """Rewrites ``metrics.jsonl`` with the rows of all chunks."""
    out = Path(cfg.run_dir) / rundir.METRICS
    with files.replacing(out) as scratch, scratch.open("wb") as file:
        for folder in rundir.folders(cfg.run_dir):
            part = folder / rundir.METRICS
            # Another process may be halving this chunk, and then gathers itself.
            with suppress(FileNotFoundError):
                if folder != Path(cfg.run_dir):
                    file.write(part.read_bytes())


def _chunks(cfg: RunConfig, share: Share) -> Iterator[tuple[int, int]]:
    """First and last seed of the chunks of one process, halved where they were."""
    size = cfg.sweep.chunk or cfg.seeds
    whole = [*_cut(cfg.seed, cfg.seed + cfg.seeds - 1, size)]
    for first, last in whole[share.process :: share.processes]:
        yield from _parts(cfg, first, last)


def _parts(cfg: RunConfig, first: int, last: int) -> Iterator[tuple[int, int]]:
    """A chunk, or what it was halved into: there are smaller ones and not itself."""
    began = Path(cfg.run_dir, rundir.CHUNKS)
    there = [tuple(map(int, path.name.split("-"))) for path in began.glob("*-*")]
    inside = [ends for ends in there if first <= ends[0] and ends[1] <= last]
    if (first, last) in there or not inside:
        yield first, last
        return
    for pair in _cut(first, last, (last - first + 1) // 2):
        yield from _parts(cfg, *pair)


def _cut(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last + 1, size):
        yield start, min(last, start + size - 1)


def _chunk(cfg: RunConfig, first: int, last: int) -> RunConfig:
    """Configuration of one chunk, resumed where it was begun."""
    part = _chunk_at(cfg, first, last)
    return replace(part, resume=bool(rundir.traces(part.run_dir)))


def _chunk_at(cfg: RunConfig, first: int, last: int) -> RunConfig:
    seeds = last - first + 1
    folder = Path(cfg.run_dir) / rundir.CHUNKS / f"{first:06d}-{last:06d}"
    sweep = replace(cfg.sweep, chunk=seeds)
    return replace(
        cfg, run_dir=str(folder), seed=first, seeds=seeds, resume=False, sweep=sweep
    )


def _finished(part: RunConfig) -> bool:
    """Whether the summary of a chunk, or of all, tells of its end."""
    return summary.is_whole(summary.known(Path(part.run_dir)), part)
