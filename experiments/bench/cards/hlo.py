"""Reads a scheduled program in XLA's text form."""

import re
from typing import NamedTuple

WIDTHS = {
    **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 1),
    **dict.fromkeys(("s16", "u16", "f16", "bf16"), 2),
    **dict.fromkeys(("s32", "u32", "f32"), 4),
    **dict.fromkeys(("s64", "u64", "f64", "c64"), 8),
}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%([\w.-]+) = (.+)$")
_NAME = re.compile(r"%([\w.-]+)")


class Tensor(NamedTuple):
    """An array: its kind (``f32``) and its sizes."""

    kind: str
    sizes: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of it; none for what holds no numbers."""
        count = WIDTHS.get(self.kind, 0)
        for size in self.sizes:
            count *= size
        return count


class Op(NamedTuple):
    """One instruction.

    Attributes:
        name: unique in its computation.
        code: what it does, ``fusion``, ``dot``, ``while``, ...
        result: arrays that it makes.
        operands: names of what it reads.
        rest: attributes, as they are written.
    """

    name: str
    code: str
    result: tuple[Tensor, ...]
    operands: tuple[str, ...]
    rest: str

    @property
    def bytes(self) -> int:
        """Bytes of all that it makes."""
        return sum(one.bytes for one in self.result)

    @property
    def place(self) -> str:
        """Where in the traced program it comes from (``op_name``)."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def trips(self) -> int | None:
        """Iterations of a ``while`` where XLA knows them."""
        found = re.search(r'known_trip_count":\{"n":"(\d+)"', self.rest)
        return int(found[1]) if found else None

    def called(self, *attributes: str) -> list[str]:
        """Computations that the first of these attributes names, in order."""
        for attribute in attributes:
            found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%[\w.-]+)", self.rest)
            if found:
                return _NAME.findall(found[1])
        return []

    def numbers(self, attribute: str) -> tuple[int, ...]:
        """Integers of an attribute such as ``lhs_contracting_dims={1}``."""
        found = re.search(rf"\b{attribute}=\{{([\d,]*)\}}", self.rest)
        return _sizes(found[1]) if found else ()


class Module(NamedTuple):
    """Computations by name, last instruction last, and which of them is the program."""

    entry: str
    computations: dict[str, tuple[Op, ...]]


def parse(text: str) -> Module:
    """The computations of a module.

    Raises:
        ValueError: there is no entry.
    """
    entry, found, ops = "", {}, []
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            ops = []
            found[head[2]] = ops
            entry = head[2] if head[1] else entry
            continue
        one = _LINE.match(line)
        if one:
            ops.append(_op(one[1], one[2]))
    if not entry:
        raise ValueError("no entry computation in this text")
    return Module(entry, {name: tuple(ops) for name, ops in found.items()})


def _op(name: str, text: str) -> Op:
    """An instruction ``shape code(operands), attributes``."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    begin = text.index("(")
    end = _closing(text, begin)
    result = tuple(Tensor(k, _sizes(sizes)) for k, sizes in _ARRAY.findall(shape))
    operands = tuple(_NAME.findall(text[begin + 1 : end]))
    return Op(name, text[:begin], result, operands, text[end + 1 :])


def _closing(text: str, begin: int) -> int:
    """Where the parenthesis at ``begin`` is closed."""
    depth = 0
    for at in range(begin, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if not depth:
            return at
    raise ValueError(f"no end of what begins with {text[:40]}")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(",") if one)
