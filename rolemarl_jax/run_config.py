"""The configuration of a whole run, in the records of its parts (``configs/run``)."""

from typing import Any, Literal

from rolemarl_jax.config import (
    Bytes,
    Count,
    CountOrNone,
    Finite,
    Natural,
    Positive,
    UpTo1,
    config,
)


@config
class TrainConfig:
    """How experience becomes updates (``run/*.yaml``, key ``train``).

    Attributes:
        worlds: environments stepped together, a seed.
        steps_per_update: env steps collected for each learner update.
        warmup_steps: env steps collected before the first update; ``None`` takes
            the least that guarantees a full batch of whole episodes.
        seeds_by: how seeds share a device: ``map`` (one after another inside one
            program), ``vmap`` (one batched program) or ``auto`` (map on a CPU).
        host_devices: CPU devices that seeds are spread over; ``None`` takes one for
            each core, at most one a seed. Accelerators are not concerned.
        seeds_together: seeds that ``vmap`` batches, group after group, which bounds
            the memory of an update; ``None`` batches all.
    """

    worlds: Count
    steps_per_update: Positive
    warmup_steps: Natural | None
    seeds_by: Literal["auto", "map", "vmap"]
    host_devices: Count | None
    seeds_together: Count | None


@config
class ReplayConfig:
    """Replay of whole episodes (key ``replay``).

    Attributes:
        store: ``packed`` keeps world states and re-renders observations,
            ``observations`` keeps what was seen, ``auto`` takes the smaller.
        sampling: ``episodes``: ``batch`` whole episodes, uniform, padded to the
            time limit. ``filled``: ``rows`` rows of ``row_length`` steps that begin
            anywhere and go on into the episodes that follow, so that nearly every
            step is real and each has an equal chance. ``fresh``: nothing but the
            block just collected, for on-policy algorithms; the keys below then
            mean nothing.
        episodes: capacity in episodes.
        mean_length: storage is reserved for ``episodes * mean_length`` steps;
            longer episodes mean that fewer fit.
        batch: episodes of an ``episodes`` sample.
        rows: rows of a ``filled`` sample.
        row_length: steps of such a row that are learnt from.
        burn_in: steps before those, which only warm up the recurrent state.
    """

    store: Literal["packed", "observations", "auto"]
    sampling: Literal["episodes", "filled", "fresh"]
    episodes: Positive
    mean_length: Positive
    batch: Count
    rows: Count
    row_length: Count
    burn_in: Natural


@config
class EvalConfig:
    """Greedy evaluation (key ``eval``).

    Attributes:
        every: env steps between evaluations.
        episodes: episodes an evaluation; each world plays its first one only.
        worlds: worlds stepped together; divides ``episodes``.
        role_episodes: greedy episodes that the metrics of roles are taken from, where
            the algorithm has roles; 0 for no such metrics.
    """

    every: Positive
    episodes: Count
    worlds: Count
    role_episodes: CountOrNone


@config
class CheckpointConfig:
    """Checkpoints (key ``checkpoint``).

    Attributes:
        every: env steps between checkpoints; a multiple of ``eval.every``.
        keep: checkpoints kept.
        replay: whether replay is saved as well.
    """

    every: Positive
    keep: Positive
    replay: bool


@config
class SweepConfig:
    """What a run sweeps, and how many seeds run at once (key ``sweep``).

    Attributes:
        hypers: hyper-parameters by name, each with the values that it takes; every
            seed is trained with every combination, in the same program.
        chunk: seeds of one program, the rest follow; ``None``: as many as fit.
        device_memory: to plan for, e.g. ``80GB``; ``None`` asks the device.
        card: to plan for, which need not be there (``sweep.cards``), or ``None``.
        fraction: of it that a chunk may take, in (0, 1].
        plan_only: whether to print the plan and stop.
        coordinator: ``host:port`` where processes meet, ``auto`` (Slurm) or ``None``.
        processes: that share the seeds.
        process: number of this one.
    """

    hypers: dict[str, tuple[Finite, ...]]
    chunk: Count | None
    device_memory: Bytes | None
    card: str | None
    fraction: UpTo1
    plan_only: bool
    coordinator: str | None
    processes: Count | None
    process: Natural | None


@config
class RunConfig:
    """The whole experiment, as ``config.yaml`` in the run directory has it.

    Attributes:
        algo: mapping for the learner's own configuration record.
        env: mapping for the environment's own configuration record.
        logger: mapping for ``loggers.make``.
        bridge: mapping for ``bridge.config``; empty for worlds that are compiled.
        train: how experience becomes updates.
        replay: what is kept of it.
        eval: greedy evaluation.
        checkpoint: how often, and how many are kept.
        sweep: hyper-parameters and seeds that share the program.
        seeds: how many.
        seed: id of the first.
        total_steps: env steps a seed.
        log_every: env steps between rows; divides ``eval.every``.
        run_dir: where output goes.
        init_from: directory of a run whose parameters experiments begin with.
        resume: go on from its last checkpoint.
        deterministic: ask XLA for deterministic kernels on accelerators.
        preset: name of the ``run/`` file, for the record.
    """

    algo: dict[str, Any]
    env: dict[str, Any]
    logger: dict[str, Any]
    bridge: dict[str, Any]
    train: TrainConfig
    replay: ReplayConfig
    eval: EvalConfig
    checkpoint: CheckpointConfig
    sweep: SweepConfig
    seeds: Count
    seed: Natural
    total_steps: Positive
    log_every: Positive
    run_dir: str
    init_from: str | None
    resume: bool
    deterministic: bool
    preset: str
