"""From a composed configuration to a job that runs."""

from collections.abc import Callable

from experiments.door import resume, unread
from experiments.door.compose import Composed
from rolemarl_jax.config import RunConfig

Job = Callable[[RunConfig], None]


def start(job: Job, new: Composed) -> None:
    """Resolves and checks a composed configuration, prepares the devices, runs.

    Raises:
        ConfigError: it cannot be run.
    """
    from experiments.door.devices import prepare_devices

    cfg = resume.resolve(new)
    prepare_devices(cfg)
    unread.refuse(new, cfg)
    job(cfg)
