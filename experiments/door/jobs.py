"""Command lines with Hydra's own flags: help, ``--cfg job``, and sweeps with ``-m``.

Every job of a sweep is checked before the first one trains. One that is refused or
fails does not end the others; the exit status tells of it. At the end stands a table of
what the jobs of this process have reached.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.door import compose, folders, overrides, resume, unread
from experiments.door.again import command
from experiments.door.devices import prepare_devices
from experiments.door.start import Job, start
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk.rundir import METRICS
from rolemarl_jax.run_config import RunConfig

Guard = Callable[[Callable[[], None]], None]
SWEEP = ("-m", "--multirun")
LAUNCHER = "hydra/launcher"
REFUSED, FAILED = 2, 1
SIGNALS = 128  # and more: somebody asked the whole command to stop


def with_hydra(
    job: Job,
    check: Job | None,
    arguments: Sequence[str],
    guard: Guard,
    *,
    trains: bool,
) -> None:
    """Hands the command line to Hydra, which calls back once for each job.

    Args:
        job, check: as for ``cli.launch``.
        guard: ends the process with a message where an action is refused.
        trains: as for ``start``.

    Raises:
        SystemExit: status 2 if all that went wrong was refused, 1 if a job failed.
    """
    sweep = any(flag in arguments for flag in SWEEP)
    became: dict[int, int] = {}
    finished: dict[int, str] = {}
    guard(lambda: became.update(_refused(check, arguments, sweep, trains)))
    here = os.getpid()

    def begin(job: Job, cfg: DictConfig, own: HydraConf, number: int | None) -> None:
        typed = own.overrides.task
        new = compose.plain(cfg, own.runtime.choices, typed, number)
        start(job, new, trains=trains)

    def task(cfg: DictConfig) -> None:
        own = HydraConfig.get()
        number = own.job.num if own.mode == RunMode.MULTIRUN else None
        if number is None:
            guard(lambda: begin(job, cfg, own, None))
            return
        if number not in became:

            def noted(run: RunConfig) -> None:
                job(run)
                finished[number] = run.run_dir

            became[number] = _status(guard, lambda: begin(noted, cfg, own, number))
        if os.getpid() != here and became[number]:
            sys.exit(became[number])  # a launcher's own process tells by its status

    sys.argv = [sys.argv[0], *compose.opened(arguments), *folders.search()]
    hydra.main(str(compose.CONFIGS), "config", version_base="1.3")(task)()
    _compare(list(finished.values()))
    _tell(became)


def _compare(folders: Sequence[str]) -> None:
    """Prints the jobs' results side by side, where there are several."""
    # Jobs that only planned have left no directory.
    there = [folder for folder in folders if Path(folder, METRICS).is_file()]
    if len(there) < 2:
        return
    from rolemarl_jax.report import gather, results
    from rolemarl_jax.report.scores import Asked

    try:
        found = gather.gather(there)
        print(results.markdown(results.cells(found.groups, Asked())), end="")
    except ConfigError as error:
        print(f"no comparison of the jobs: {error}", file=sys.stderr)
        return
    print("\nNext:", command("plot", f"runs=[{','.join(there)}]"), sep="\n  ")


def _refused(
    check: Job | None, arguments: Sequence[str], sweep: bool, trains: bool
) -> dict[int, int]:
    """Checks all jobs of a sweep; tells of those that are refused.

    Returns:
        Status by number of the job, of these.

    Raises:
        ConfigError: a command line that makes no jobs.
        SystemExit: none of several jobs is left.
    """
    words = overrides.words(arguments)
    compose.check(words, sweep=sweep)
    if not sweep:
        return {}
    own = [word for word in words if word.lstrip("+~").startswith("hydra")]
    every = overrides.jobs(word for word in words if word not in own)
    if any(word.lstrip("+").startswith(LAUNCHER) for word in own):
        check = None  # other hosts, other devices
    refused: dict[int, int] = {}
    taken: dict[str, int | None] = {}
    for number, line in enumerate(every):
        try:
            new = compose.composed(line)._replace(job=number)
            _check(check, new, resume.resolve(new, trains=trains), taken)
        except ConfigError as error:
            refused[number] = REFUSED
            print(f"error: job {number} ({' '.join(line)})\n{error}", file=sys.stderr)
    if len(refused) == len(every):
        sys.exit(REFUSED)
    return refused


def _check(
    check: Job | None,
    new: compose.Composed,
    cfg: RunConfig,
    taken: dict[str, int | None],
) -> None:
    """Refuses a job of a sweep, as far as can be known before it begins.

    Args:
        check: as for ``cli.launch``.
        new: its command line.
        cfg: what that means.
        taken: directories of the jobs before; this one's is added.
    """
    shared = cfg.sweep.processes is not None
    if taken.setdefault(cfg.run_dir, new.job) != new.job and not shared:
        raise ConfigError(
            f"run_dir: got '{cfg.run_dir}', which job {taken[cfg.run_dir]} has; leave "
            "it out for a directory of each job's own"
        )
    if check is not None:
        prepare_devices(cfg)
    unread.refuse(new, cfg)
    if check is not None:
        check(cfg)


def _status(guard: Guard, action: Callable[[], None]) -> int:
    """Exit status that a job would end a command with; a request to stop ends all."""
    try:
        guard(action)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else FAILED
        if status >= SIGNALS:
            raise
        return status
    except Exception:
        traceback.print_exc()
        return FAILED
    return 0


def _tell(became: dict[int, int]) -> None:
    """Ends a sweep in which not all went well."""
    wrong = {number: status for number, status in sorted(became.items()) if status}
    if not wrong:
        return
    listed = ", ".join(
        f"{number} (status {status})" for number, status in wrong.items()
    )
    print(f"jobs that did not finish: {listed}", file=sys.stderr)
    sys.exit(REFUSED if set(wrong.values()) == {REFUSED} else FAILED)
