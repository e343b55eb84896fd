"""Configuration as frozen dataclasses, checked once, at the door.

The YAML files under ``configs/`` hold every number; nothing here has a default.
Types of numbers are those of ``bounds``, records of a run those of ``run_config``.
``build`` turns plain mappings into these records and refuses unknown keys,
missing keys and values of the wrong type. Checks that need more than one key
live beside the code that needs them and raise ``ConfigError`` too.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as _dataclass

from rolemarl_jax.bounds import INT32 as INT32
from rolemarl_jax.bounds import Above0 as Above0
from rolemarl_jax.bounds import Count as Count
from rolemarl_jax.bounds import CountOrNone as CountOrNone
from rolemarl_jax.bounds import Finite as Finite
from rolemarl_jax.bounds import Fraction as Fraction
from rolemarl_jax.bounds import Natural as Natural
from rolemarl_jax.bounds import NonNegative as NonNegative
from rolemarl_jax.bounds import Positive as Positive
from rolemarl_jax.bounds import Size as Size
from rolemarl_jax.bounds import UpTo1 as UpTo1

T = TypeVar("T")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST_BYTES = 10**18

# Strict JSON mode: nothing is coerced but int to float, list to tuple, and whole
# floats to int.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names key, value, allowed."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Frozen, keyword-only dataclass whose fields are validated on construction."""
    return _dataclass(cls, frozen=True, kw_only=True, config=_STRICT)  # type: ignore


def require_name(key: str, got: Any, known: Iterable[str]) -> str:
    """The name of a thing, which has to be one of those that are known.

    Args:
        key: dotted key that it stands under.
        got: what stands there, of any type.
        known: names.

    Raises:
        ConfigError: anything else.
    """
    names = list(known)
    if isinstance(got, str) and got in names:
        return got
    raise ConfigError(f"{key}: got {got!r}; {nearest(str(got), names)}")


def nearest(got: str, known: Iterable[str]) -> str:
    """Sentence fragment for an unknown name: the list, and the closest match."""
    names = sorted(known)
    close = difflib.get_close_matches(got, names, n=1, cutoff=0.4)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"known: {', '.join(names)}{hint}"


def parse_bytes(text: str) -> int:
    """``80GB``, ``512 MB``, ``1.5e9``: a number of bytes, units of a thousand.

    Raises:
        ConfigError: anything else.
    """
    parts = re.fullmatch(r"\s*([0-9.]+(?:[eE][0-9]+)?)\s*([KMGT]?)B?\s*", text)
    try:
        amount = float(parts[1]) * _UNITS[parts[2]] if parts else 0
    except ValueError:
        amount = 0
    if not 1 <= amount < _MOST_BYTES:
        raise ConfigError(
            f"sweep.device_memory: got '{text}'; allowed: for example 80GB or 512MB, "
            f"less than {_MOST_BYTES:.0e} bytes"
        )
    return int(amount)


def _amount(value: Any) -> Any:
    """An amount of memory that can be read, as it was written; a number is of bytes."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:.0f}"
    if isinstance(value, str):
        parse_bytes(value)
    return value


Bytes = Annotated[str, BeforeValidator(_amount)]


def require_divisor(name: str, value: int, whole_name: str, whole: int) -> None:
    """Refuses a number that does not divide another.

    Raises:
        ConfigError: names both keys.
    """
    if whole % value:
        raise ConfigError(
            f"{name}: got {value}, which does not divide {whole_name}={whole}"
        )


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Makes a configuration record from a mapping.

    Args:
        cls: a class made by ``config``.
        values: nested plain containers, e.g. from YAML; lists become tuples.
        where: dotted prefix of the keys, for messages ("algo", "env", ...).

    Raises:
        ConfigError: unknown or missing key, or a value of the wrong type; all
            faults are named in one message.
    """
    faults = {
        key: f"{key}: got {value!r}; input should be a finite number"
        for key, value in _numbers(values, where)
        if not math.isfinite(value)
    }
    try:
        record = TypeAdapter(cls).validate_json(json.dumps(dict(values)))
        if not faults:
            return record
    except ValidationError as error:
        found = [_explain(cls, where, fault) for fault in error.errors()]
        faults = dict(found) | faults
    raise ConfigError("\n".join(faults.values())) from None


def _numbers(node: Any, key: str) -> Iterator[tuple[str, float]]:
    """All floats of nested containers by dotted key, those of open mappings too."""
    if isinstance(node, float):
        yield key, node
    if not isinstance(node, Mapping | list | tuple):
        return
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, value in items:
        yield from _numbers(value, f"{key}.{name}" if key else str(name))


def _explain(cls: type, where: str, fault: Any) -> tuple[str, str]:
    """Key and line of a ``ConfigError`` for one fault that pydantic found."""
    path = [str(part) for part in fault["loc"]]
    key = ".".join(filter(None, [where, *path]))
    if fault["type"] == "unexpected_keyword_argument":
        fields = getattr(_owner(cls, path[:-1]), "__dataclass_fields__", {})
        return key, f"{key}: unknown key; {nearest(path[-1], fields)}"
    if fault["type"] == "missing":
        return key, f"{key}: missing key"
    own = fault.get("ctx", {}).get("error")
    if isinstance(own, ConfigError):
        return key, str(own)
    what = fault["msg"][:1].lower() + fault["msg"][1:]
    alone = fault["type"] == "tuple_type" and isinstance(fault["input"], int | float)
    hint = f"; write [{fault['input']!r}]" if alone else ""
    return key, f"{key}: got {fault['input']!r}; {what}{hint}"


def _owner(cls: Any, path: list[str]) -> Any:
    """The nested record class that a dotted path leads to, also inside containers."""
    for part in path:
        fields = getattr(cls, "__dataclass_fields__", None)
        # dict[str, Record] and tuple[Record, ...]
        inside = [a for a in get_args(cls) if hasattr(a, "__dataclass_fields__")]
        cls = fields[part].type if fields else inside[0] if inside else None
    return cls
