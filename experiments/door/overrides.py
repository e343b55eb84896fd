"""What stands on a command line, in Hydra's grammar, with errors of our own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from rolemarl_jax.config import ConfigError

SHOWN = 60  # letters of a value that a message repeats
# Hydra's flags for a job or a sweep, and those of them that a word follows.
FLAGS = {
    *("--multirun", "-m", "--help", "-h", "--hydra-help", "--version", "--run", "-r"),
    *("--resolve", "--shell-completion", "-sc"),
}
VALUED = {"--cfg", "-c", "--package", "-p", "--info", "-i"}


class Typed(NamedTuple):
    """One override.

    Attributes:
        sign: ``+``, ``++`` or ``~`` before it, or nothing.
        key: dotted, without the sign.
        value: as it was written.
        parsed: Hydra's view of it.
    """

    sign: str
    key: str
    value: str
    parsed: Override


def read(arguments: Iterable[str], *, sweep: bool) -> list[Typed]:
    """Overrides of a command line, Hydra's own keys left out.

    Args:
        sweep: whether several values for a key are several jobs.

    Raises:
        ConfigError: something that is no override, or several values without a sweep;
            all faults are named, whatever their order.
    """
    found, faults = [], []
    for argument in arguments:
        try:
            one = _one(argument)
            if not sweep and one.parsed.is_sweep_override():
                raise ConfigError(
                    f"{one.key}: got '{one.value}', several values; add --multirun for "
                    "a run of each"
                )
            found.append(one)
        except ConfigError as error:
            faults.append(str(error))
    refuse(faults)
    return [one for one in found if not one.parsed.is_hydra_override()]


def refuse(faults: Iterable[str]) -> None:
    """One message for all faults, in an order that is not that of the command line.

    Raises:
        ConfigError: there are any.
    """
    lines = sorted(set(faults))
    if lines:
        raise ConfigError("\n".join(lines))


def words(arguments: Sequence[str]) -> list[str]:
    """What of a command line is no flag of Hydra's.

    Raises:
        ConfigError: a flag that there is not.
    """
    found, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            found.append(word)
        elif word.partition("=")[0] in VALUED:
            # `--info` may stand alone.
            takes = "=" not in word and rest and "=" not in rest[0]
            if takes and not rest[0].startswith("-"):
                rest.pop(0)
        elif word not in FLAGS:
            named = FLAGS | VALUED | {"--config-dir"}
            known = sorted(flag for flag in named if flag[:2] == "--")
            raise ConfigError(
                f"'{word}': unknown flag; known: {', '.join(known)}; keys are written "
                "key=value, for example seeds=8"
            )
    return found


def jobs(arguments: Iterable[str]) -> list[list[str]]:
    """Overrides of each job of a sweep, in the order of Hydra's own sweeper."""
    lists = [_values(OverridesParser.create().parse_override(a)) for a in arguments]
    return [list(job) for job in product(*lists)]


def leaves(typed: Iterable[Typed]) -> Iterator[str]:
    """Dotted keys of all single values that were given."""
    for one in typed:
        if one.sign != "~":
            yield from _leaves(one.key, one.parsed.value())


def _leaves(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, inside in value.items():
            yield from _leaves(f"{key}.{name}", inside)
    else:
        yield key


def _values(override: Override) -> list[str]:
    key = override.get_key_element()
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]


def _one(argument: str) -> Typed:
    """One argument, parsed.

    Raises:
        ConfigError: it is no override.
    """
    head, equals, value = argument.partition("=")
    key = head.lstrip("+~")
    sign = head.removesuffix(key)
    if not key or (not equals and sign != "~"):
        raise ConfigError(f"'{argument}': got no key=value; write for example seeds=8")
    short = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    try:
        return Typed(
            sign, key, value, OverridesParser.create().parse_override(argument)
        )
    except HydraException:
        raise ConfigError(
            f"{key}: got '{short}', which is no value; text with signs in it needs "
            f"quotes inside quotes: {key}='\"...\"'"
        ) from None
    except ValueError as error:  # a number of too many digits
        raise ConfigError(f"{key}: got '{short}': {error}") from None
