"""Command lines, and the configuration that they make of their arguments."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolemarl_jax.config import RunConfig


def configure(*arguments: str) -> "RunConfig":
    """The configuration of a run from ``group=file`` and ``key=value``.

    As ``python -m experiments.run`` would have it, ``run_dir`` included; nothing is
    written.

    Raises:
        ConfigError: an unknown group, file or key, or a bad value.
    """
    from experiments.door import compose, resume

    return resume.resolve(compose.composed(arguments))
