"""From a composed configuration to a job that runs."""

from collections.abc import Callable

from experiments.door import resume, unread
from experiments.door.compose import Composed
from rolemarl_jax.run_config import RunConfig

Job = Callable[[RunConfig], None]


def start(job: Job, new: Composed, *, trains: bool = True) -> None:
    """Resolves and checks a composed configuration, prepares the devices, runs.

    Args:
        job: is given the configuration.
        new: the command line.
        trains: whether the job makes a run; others write nothing.

    Raises:
        ConfigError: it cannot be run.
    """
    from experiments.door.devices import prepare_devices

    cfg = resume.resolve(new, trains=trains)
    prepare_devices(cfg)
    unread.refuse(new, cfg)
    if not trains:
        job(cfg)
        return
    with resume.claimed(cfg, new) as own:
        job(own)
