"""Command lines, and the configuration that they make of their arguments."""

from typing import TYPE_CHECKING

from experiments.door import siblings

if TYPE_CHECKING:
    from rolemarl_jax.run_config import RunConfig

siblings.claim()


def configure(*arguments: str) -> "RunConfig":
    """The configuration of a run from ``group=file`` and ``key=value``.

    As ``python -m experiments.run`` would have it, ``run_dir`` included; nothing is
    written. ``--config-dir=conf`` adds files of one's own here, too.

    Raises:
        ConfigError: an unknown group, file or key, or a bad value.
    """
    from experiments.door import compose, folders, resume

    own, rest = folders.split(arguments)
    with folders.added(own):
        return resume.resolve(compose.composed(rest))
