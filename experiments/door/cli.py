"""The door of every command line: parse, check, and only then import jax.

A wrong name or value ends with one message on stderr and exit status 2, before
anything is compiled or written.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from rolemarl_jax import stops
from rolemarl_jax.config import ConfigError, nearest

if TYPE_CHECKING:
    from experiments.door.start import Job


def launch(
    job: "Job", argv: Sequence[str] | None = None, check: "Job | None" = None
) -> None:
    """Composes the configuration of ``experiments.run`` and runs a job with it.

    Arguments that begin with a dash (``--help``, ``--cfg job``, ``-m`` for a sweep
    over groups and keys) are Hydra's own and handled by it.

    Args:
        job: runs one experiment; may raise ``ConfigError`` until it has written
            something.
        argv: ``group=file`` and ``key=value``; ``None`` takes those of the process.
        check: refuses what ``job`` would refuse, without training; each job of a sweep
            goes through it before the first begins.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument.startswith("-") for argument in arguments):
        from experiments.door import jobs

        # Also between two jobs a request to stop is heard.
        guard(lambda: jobs.with_hydra(job, check, arguments, guard))
    else:
        guard(lambda: _one(job, arguments))


def guard(action: Callable[[], None]) -> None:
    """Runs an action; a ``ConfigError`` becomes a message and exit status 2.

    SIGINT and SIGTERM end it with status 130 and 143 (`rolemarl_jax.stops`).
    """
    try:
        stops.obeyed(action)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def options(
    known: Mapping[str, Any], argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """Options ``key=value`` of the small commands, with values read as YAML.

    Args:
        known: allowed keys with their defaults; ``...`` marks one that is required.
            Where the default is a list, one value alone is a list of it. A name that
            ends with a dot takes any key below it: ``env.map=3m`` is ``map`` of
            ``env.``.
        argv: as for ``launch``.

    Raises:
        ConfigError: unknown, repeated, missing or malformed option.
    """
    found: dict[str, Any] = {}
    usage = " ".join(f"{key}=..." for key in known)
    for argument in sys.argv[1:] if argv is None else argv:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"'{argument}': got no key=value; options: {usage}")
        section = f"{key.partition('.')[0]}."
        if section in known and section != f"{key}." and key != section:
            part = found.setdefault(section, {})
            part[key.removeprefix(section)] = _value(key, value)
            continue
        if key not in known:
            raise ConfigError(f"{key}: unknown option; {nearest(key, known)}")
        if key in found:
            raise ConfigError(f"{key}: given twice")
        given = _value(key, value)
        single = isinstance(known[key], list) and not isinstance(given, list)
        found[key] = [given] if single else given
    missing = [key for key in known if known[key] is ... and key not in found]
    if missing:
        raise ConfigError(f"{missing[0]}: missing; options: {usage}")
    return {**known, **found}


def _value(key: str, text: str) -> Any:
    """An option's value: number, truth value, list ``[a,b]`` or text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{key}: got '{text}', which is no YAML value") from None


def _one(job: "Job", arguments: Sequence[str]) -> None:
    """Composes, checks, prepares the devices, runs."""
    from experiments.door import compose, resume
    from experiments.door.start import start

    start(job, compose.composed(arguments, resume.world_of(arguments)))
