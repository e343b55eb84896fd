"""The door of every command line: parse, check, and only then import jax.

A wrong name or value ends with one message on stderr and exit status 2, before
anything is compiled or written.
"""

import os
import re
import select
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from rolemarl_jax import stops
from rolemarl_jax.config import INT32, ConfigError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from experiments.door.start import Job

EXPONENT = r"[+-]?[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]{1,3}"
HELP = ("--help", "-h")


def launch(
    job: "Job",
    argv: Sequence[str] | None = None,
    check: "Job | None" = None,
    about: str | None = None,
) -> None:
    """Composes the configuration of ``experiments.run`` and runs a job with it.

    ``--help`` explains the command, its groups and its keys. Other arguments that begin
    with a dash (``--cfg job``, ``-m`` for a sweep over groups and keys) are Hydra's own
    and handled by it.

    Args:
        job: runs one experiment; may raise ``ConfigError`` until it has written
            something.
        argv: ``group=file`` and ``key=value``; ``None`` takes those of the process.
        check: refuses what ``job`` would refuse, without training; each job of a sweep
            goes through it before the first begins.
        about: docstring of the command, where it is not ``experiments.run`` and makes
            no run.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    guard(lambda: _launch(job, arguments, check, about))


def _launch(
    job: "Job", arguments: Sequence[str], check: "Job | None", about: str | None
) -> None:
    """The same, inside a guard."""
    from experiments.door import folders

    own, arguments = folders.split(arguments)
    with folders.added(own):
        if any(argument in HELP for argument in arguments):
            from experiments.door import manual

            print(manual.text(arguments, about or manual.RUN))
        elif any(argument.startswith("-") for argument in arguments):
            from experiments.door import jobs

            # Also between two jobs a request to stop is heard.
            jobs.with_hydra(job, check, arguments, guard, trains=about is None)
        else:
            _one(job, arguments, trains=about is None)


def guard(action: Callable[[], None]) -> None:
    """Runs an action; a ``ConfigError`` becomes a message and exit status 2.

    SIGINT and SIGTERM end it with status 130 and 143 (`rolemarl_jax.stops`). Where
    whoever read its output has gone (``| head``), it ends without a word, with 141.
    """
    try:
        try:
            stops.obeyed(lambda: _unless_stopped(action))
        finally:
            sys.stdout.flush()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        if not _is_unread():
            raise  # of another pipe
        # What is left in the buffer goes nowhere when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _is_unread() -> bool:
    """Whether nobody reads what this process prints, any more."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in pipe.poll(0))


def _unless_stopped(action: Callable[[], None]) -> None:
    """Where a library made its own error of the interrupt, it is an interrupt again."""
    try:
        action()
    except ConfigError:
        stops.check()
        raise


class Option(NamedTuple):
    """One option of a small command.

    Attributes:
        default: its value if it is not given; ``...`` marks one that is required.
        text: what ``--help`` says of it.
        many: whether it is a list; one value alone is then a list of it.
    """

    default: Any
    text: str
    many: bool = False


# Options that mean the same wherever they have no text of their own.
COMMON = {
    "run_dir": "directory of a run",
    "out": "file that is written; named in run_dir by default",
}


def options(
    known: Mapping[str, Any],
    argv: Sequence[str] | None = None,
    about: str | None = None,
) -> dict[str, Any]:
    """Options ``key=value`` of the small commands, with values read as YAML.

    ``--help`` prints what the command does and explains each option.

    Args:
        known: allowed keys with their ``Option``, or with a default alone. A name that
            ends with a dot takes any key below it: ``env.map=3m`` is ``map`` of
            ``env.``.
        argv: as for ``launch``.
        about: docstring of the command; that of the running module by default.

    Raises:
        ConfigError: unknown, repeated, missing or malformed option.
        SystemExit: status 0, after help.
    """
    table = {key: _option(key, one) for key, one in known.items()}
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in HELP for argument in arguments):
        print(_help(table, about or sys.modules["__main__"].__doc__ or ""))
        sys.exit(0)
    found: dict[str, Any] = {}
    usage = " ".join(f"{key}=..." for key in table)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"'{argument}': got no key=value; options: {usage}")
        section = f"{key.partition('.')[0]}."
        if section in table and section != f"{key}.":
            name, part = key.removeprefix(section), found.setdefault(section, {})
            if not name:
                raise ConfigError(f"{key}: got no name; write {key}<name>=...")
            if name in part:
                raise ConfigError(f"{key}: given twice")
            part[name] = _value(key, value)
            continue
        if key not in table:
            raise ConfigError(f"{key}: unknown option; {nearest(key, table)}")
        if key in found:
            raise ConfigError(f"{key}: given twice")
        given = _value(key, value)
        single = table[key].many and not isinstance(given, list)
        found[key] = [given] if single else given
    missing = [key for key in table if table[key].default is ... and key not in found]
    if missing:
        raise ConfigError(f"{missing[0]}: missing; options: {usage}")
    return {**{key: one.default for key, one in table.items()}, **found}


def whole(options: Mapping[str, Any], key: str, least: int, most: int = INT32) -> int:
    """An option that is a whole number, which may be written ``2e4``.

    Raises:
        ConfigError: it is none, or not from ``least`` to ``most``.
    """
    got = options[key]
    if isinstance(got, str) and re.fullmatch(EXPONENT, got):
        got = float(got)  # to YAML it is text
    if isinstance(got, float) and got.is_integer():
        got = int(got)
    if type(got) is not int or not least <= got <= most:
        raise ConfigError(f"{key}: got {got!r}; allowed: {least} to {most}")
    return got


def _option(key: str, one: Any) -> Option:
    """An option as it is declared, or of a default alone."""
    if isinstance(one, Option):
        return one._replace(many=one.many or isinstance(one.default, list))
    return Option(one, COMMON.get(key, ""), isinstance(one, list))


def _help(table: Mapping[str, Option], about: str) -> str:
    """What a command does, and each of its options."""
    width = max(len(key) for key in table) + 3
    lines = []
    for key, one in table.items():
        name = f"{key}<name>=" if key.endswith(".") else f"{key}="
        default = "required" if one.default is ... else f"default {_shown(one.default)}"
        told = one.text if key.endswith(".") else f"{one.text} [{default}]"
        lines += textwrap.wrap(
            told,
            88,
            initial_indent=f"  {name:<{width}} ",
            subsequent_indent=" " * (width + 3),
        )
    return "\n".join([about.strip(), "", "Options:", *lines])


def _shown(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value) or "''"


def _value(key: str, text: str) -> Any:
    """An option's value: number, truth value, list ``[a,b]`` or text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{key}: got '{text}', which is no YAML value") from None


def _one(job: "Job", arguments: Sequence[str], *, trains: bool) -> None:
    """Composes, checks, prepares the devices, runs."""
    from experiments.door import compose, resume
    from experiments.door.start import start

    new = compose.composed(arguments, resume.world_of(arguments))
    start(job, new, trains=trains)


def hand_out(text: str, out: "Path | None") -> None:
    """Prints a text, or writes it to a file, whose path is printed then."""
    if out is None:
        print(text, end="")
        return
    from rolemarl_jax.disk import files

    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, text)
    print(out)
