"""Where metrics go: `metrics.jsonl` always, TensorBoard and wandb by choice.

A row is one measurement of one seed: ``{"seed", "env_steps", "split": "train" |
"test", "updates", "wall_s", "return", "win_rate", "episode_length", ...}``, every
loss by its name, the ``stage`` of the run, swept hyper-parameters as ``hyper/<name>``,
and ``frozen_at`` (env steps) once a member has diverged. The rows of one
``write`` are on disk when it returns.
"""

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError, build, config
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.members import Row
from rolemarl_jax.report import lines, names, wandb_files

MEAN = "mean"  # id of the wandb run over all seeds


@config
class LoggerConfig:
    """Sinks besides `metrics.jsonl` (group ``logger``).

    Attributes:
        tensorboard: event files under ``run_dir/tensorboard``.
        wandb: ``offline`` writes files for a later ``wandb sync``, ``online`` sends.
        per_seed: one wandb run a seed, in one group, besides the aggregate run.
        project: wandb project.
        entity: wandb team, or none for the user's own.
    """

    tensorboard: bool
    wandb: Literal["disabled", "offline", "online"]
    per_seed: bool
    project: str
    entity: str | None


@dataclass(frozen=True)
class Logger:
    """A sink of rows.

    Attributes:
        write: takes rows; numbers may be Python, NumPy or JAX scalars.
        close: releases files and connections; the last call.
    """

    write: Callable[[Sequence[Row]], None]
    close: Callable[[], None]


def make(
    cfg: Mapping[str, Any], run_dir: Path, record: Mapping[str, Any], start: int = 0
) -> Logger:
    """Logger of a run.

    Args:
        cfg: mapping for ``LoggerConfig``.
        run_dir: existing directory of the run.
        record: the resolved configuration, stored with a wandb run.
        start: env steps the run goes on from; later TensorBoard events are void, and
            so are all of a run that begins anew.

    Raises:
        ConfigError: ``cfg`` is not a ``LoggerConfig``.
    """
    choice = build(LoggerConfig, cfg, "logger")
    sinks = [jsonl(run_dir / rundir.METRICS)]
    if choice.tensorboard:
        sinks.append(tensorboard(run_dir / rundir.TENSORBOARD, start))
    if choice.wandb != "disabled":
        sinks.append(wandb_runs(choice, run_dir, record))
    return _all(sinks)


def jsonl(path: Path) -> Logger:
    """Appends rows to a JSON Lines file; NaN and infinities are written as null.

    The file is opened for each write: ``truncate_after`` may replace it in between.
    """

    def write(rows: Sequence[Row]) -> None:
        text = lines.text(rows)
        with path.open("a", encoding="utf8") as file:
            file.write(text)

    return Logger(write, lambda: None)


def tensorboard(folder: Path, start: int = 0) -> Logger:
    """Mean over seeds of every metric as ``<split>/<metric>``, by env steps.

    Events of an earlier process that are newer than ``start`` are void.
    """
    from tensorboardX import SummaryWriter  # slow to import

    # Readers drop what has this step or a later one; that of ``start`` is kept.
    writer = SummaryWriter(str(folder), purge_step=start + 1)

    def write(rows: Sequence[Row]) -> None:
        for steps, values in _means(rows):
            for name, value in values.items():
                writer.add_scalar(name, value, steps)
        writer.flush()

    return Logger(write, writer.close)


def wandb_runs(
    choice: LoggerConfig, run_dir: Path, record: Mapping[str, Any]
) -> Logger:
    """One wandb run of means over seeds and, if asked for, one run a seed.

    They are called ``acorm-smax-3m-seeds0to4`` and ``acorm-smax-3m-seed0``, and share
    one group, ``acorm-smax-3m-<name of run_dir>``, and tags of algorithm and world. Ids
    are kept in the run directory, so that a resumed run goes on in the same wandb runs.
    Each row is sent once, with its env steps as wandb's step: what a killed process had
    sent is not sent again, and what of ``metrics.jsonl`` had not got to wandb is sent
    at the beginning.
    """
    import wandb  # slow to import

    own, known = _run_id(run_dir), names.tracked(record)
    runs: dict[str, Any] = {}
    sent: dict[str, int] = {}  # env steps of the newest row there, by run

    def run(name: str) -> Any:
        if name not in runs:
            runs[name] = wandb.init(
                project=choice.project,
                entity=choice.entity,
                group=f"{known.name}-{run_dir.name}",
                job_type="mean" if name == MEAN else "seed",
                tags=list(known.tags),
                name=known.name + (f"-{name}" if name != MEAN else known.seeds),
                id=f"{own}-{name}",
                config=dict(record),
                dir=str(run_dir),
                mode=choice.wandb,
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off"),
            )
            runs[name].define_metric("*", step_metric="env_steps")
            sent[name] = _sent(runs[name], choice, run_dir)
        return runs[name]

    def write(rows: Sequence[Row]) -> None:
        parts = {MEAN: rows}
        if choice.per_seed:
            for seed in sorted({row["seed"] for row in rows}):
                parts[f"seed{seed}"] = [row for row in rows if row["seed"] == seed]
        for name, part in parts.items():
            to = run(name)
            for steps, values in _means(part):
                if steps > sent[name]:
                    to.log({"env_steps": steps, **values}, step=steps, commit=True)
                    sent[name] = steps

    def close() -> None:
        for one in runs.values():
            one.finish()

    stored = run_dir / rundir.METRICS
    if stored.exists() and (rows := lines.read(stored)):
        write(rows)
    return Logger(write, close)


def check(cfg: Mapping[str, Any]) -> None:
    """Refuses what would be found out only after compiling: wandb without a login.

    Raises:
        ConfigError: ``logger`` asks for wandb online, and nobody is logged in.
    """
    choice = build(LoggerConfig, cfg, "logger")
    if choice.wandb != "online":
        return
    import wandb  # slow to import
    import wandb.errors

    try:
        known, why = wandb.login(prompt=False), "nobody is logged in to wandb"
    except wandb.errors.Error as error:
        known, why = False, " ".join(str(error).split())
    if not known:
        login = Path(sys.executable).parent / "wandb"
        raise ConfigError(
            f"logger.wandb: got 'online', but {why}; allowed: after '{login} login' "
            "or with WANDB_API_KEY; or logger=offline, whose files are sent later"
        )


def _sent(run: Any, choice: LoggerConfig, run_dir: Path) -> int:
    """Env steps of the newest row that wandb has of a run; -1 without any."""
    if choice.wandb == "offline":
        return wandb_files.last_env_steps(run_dir / rundir.WANDB, run.id)
    # The summary is for runs whose steps were counted by wandb itself.
    known = run.summary.get("env_steps")
    return max(run.starting_step - 1, -1 if known is None else int(known))


def _all(sinks: Sequence[Logger]) -> Logger:
    """A logger that hands rows to each of several, in order."""

    def write(rows: Sequence[Row]) -> None:
        for sink in sinks:
            sink.write(rows)

    def close() -> None:
        for sink in sinks:
            sink.close()

    return Logger(write, close)


def _means(rows: Sequence[Row]) -> Iterator[tuple[int, dict[str, float]]]:
    """Means over seeds as ``<split>/<metric>``, one mapping for each step count.

    Where hyper-parameters are swept each combination has its own, and its name first.
    """
    table: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        at = table.setdefault(int(row["env_steps"]), {})
        name = members.text(members.of_row(row))
        where = f"{name}/{row['split']}" if name else row["split"]
        for key, value in lines.plain(row).items():
            if not lines.is_label(key) and value is not None:
                at.setdefault(f"{where}/{key}", []).append(float(value))
    for steps in sorted(table):
        yield steps, {name: sum(v) / len(v) for name, v in table[steps].items()}


def _run_id(run_dir: Path) -> str:
    """A random id that stays with the run directory."""
    path = run_dir / rundir.WANDB / rundir.WANDB_ID
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, uuid.uuid4().hex[:8])
    return path.read_text(encoding="utf8").strip()
