"""Kernels of a scheduled program: what each moves and multiplies, and how often.

Bytes are those that a kernel needs of its arguments and writes of its results. Caches
are not modelled: what one kernel leaves there for the next counts as moved.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from experiments.bench.cards.hlo import Module, Op

# Instructions that are no kernels.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier", "copy-done", "async-done"),
    "fusion-done",
}
# Of the second, other kernels may run beside it.
_FUSED = {"fusion", "fusion-start"}
# Kernels of our own (``ops.scan_kernel``), by name: how often they multiply as many
# rows as their first argument has with the weights, their second.
_OWN = {"gru_forward": 1, "gru_backward": 2}
# Inside a fusion: the same elements, elsewhere or of another kind.
_PASSED = {"bitcast", "reshape", "copy", "convert", "transpose"}
# Of the first operand only so much is read as there are results.
_PICKED = {"dynamic-slice", "slice", "gather"}
# The first operand is changed where it lies; what is written is another operand.
_CHANGED = {"dynamic-update-slice": 1, "scatter": 2}


class Kernel(NamedTuple):
    """A kernel and how often it runs.

    Attributes:
        place: where it comes from, as XLA keeps it.
        times: launches.
        bytes: that one launch moves.
        flops: of one launch's matrix products.
        kind: of the products' numbers, ``f32`` where there are none.
        waits: products of one launch that follow each other.
    """

    place: str
    times: int
    bytes: int
    flops: float
    kind: str
    waits: int = 0


Choice = Callable[[list[list[Kernel]]], list[Kernel]]
"""Takes the kernels of each branch of a conditional, and says what is counted."""


class Walk(NamedTuple):
    """What the text alone does not say.

    Attributes:
        module: the program.
        stages: branches of the outermost ``switch``, and which of them is counted.
        stage: that branch.
        unknown: iterations of a loop whose number XLA does not know.
        choose: what is counted of any other conditional.
    """

    module: Module
    stages: int
    stage: int
    unknown: int
    choose: Choice


def kernels(walk: Walk) -> list[Kernel]:
    """All kernels of a program."""
    return [*_walk(walk, walk.module.entry, 1)]


def _walk(walk: Walk, name: str, times: int) -> Iterator[Kernel]:
    ops = walk.module.computations[name]
    known = {op.name: op for op in ops}
    for op in ops:
        if op.code in _FREE:
            continue
        if op.code == "while":
            trips = walk.unknown if op.trips is None else op.trips
            yield from _walk(walk, op.called("body")[0], times * trips)
        elif op.code == "conditional":
            yield from _branches(walk, op, times)
        elif op.code in ("call", "async-start"):
            yield from _walk(walk, op.called("to_apply", "calls")[0], times)
        else:
            yield _kernel(walk.module, op, known, times)


def _branches(walk: Walk, op: Op, times: int) -> Iterator[Kernel]:
    """The stage's branch of the outermost switch; of others what is chosen."""
    names = op.called("branch_computations")
    if not names:
        names = [*op.called("false_computation"), *op.called("true_computation")]
    if len(names) == walk.stages:
        inner = walk._replace(stages=0)
        yield from _walk(inner, names[walk.stage], times)
    else:
        yield from walk.choose([[*_walk(walk, name, times)] for name in names])


def _kernel(module: Module, op: Op, known: dict[str, Op], times: int) -> Kernel:
    if op.code in _FUSED:
        body = module.computations[op.called("calls")[0]]
        inside = {one.name: one for one in body}
        moved = _fused_read(body) + _written(body[-1], inside)
        products = [_product(one, inside) for one in body if one.code == "dot"]
    else:
        own = [name for name in _OWN if f"/{name}/" in op.place]
        if own and op.code == "custom-call":
            return _own(op, known, times, _OWN[own[0]])
        moved = _alone(op, known)
        products = [_product(op, known)] if op.code == "dot" else []
    kind = products[0][1] if products else "f32"
    return Kernel(op.place, times, moved, sum(flops for flops, _ in products), kind)


def _own(op: Op, known: dict[str, Op], times: int, products: int) -> Kernel:
    """A recurrence in one kernel: its steps follow each other."""
    rows, weights = (known[name].result[0] for name in op.operands[:2])
    products -= len(op.operands) == 9  # its gates' products are made ahead
    flops = 2.0 * products * weights.sizes[-2] * math.prod(rows.sizes)
    waits = products * rows.sizes[-3]
    return Kernel(op.place, times, _alone(op, known), flops, rows.kind, waits)


def _alone(op: Op, known: dict[str, Op]) -> int:
    """Bytes of an instruction that is a kernel by itself."""
    operands = [known[name] for name in op.operands if name in known]
    if op.code in _PICKED:
        return 2 * op.bytes + sum(one.bytes for one in operands[1:])
    if op.code in _CHANGED:
        return 2 * operands[_CHANGED[op.code]].bytes
    return op.bytes + sum(one.bytes for one in operands)


def _fused_read(body: tuple[Op, ...]) -> int:
    """Bytes that a fusion reads of its parameters."""
    users: dict[str, list[Op]] = {}
    for op in body:
        for name in set(op.operands):
            users.setdefault(name, []).append(op)
    return sum(_read(op, users) for op in body if op.code == "parameter")


def _read(op: Op, users: dict[str, list[Op]]) -> int:
    """Bytes read of a value, by what its users take of it; at most all of it."""
    if op.name not in users:  # what the fusion makes
        return op.bytes
    total = 0
    for user in users[op.name]:
        first = user.operands[0] == op.name and op.name not in user.operands[1:]
        if user.code in _PASSED:
            total += _read(user, users)
        elif user.code in _PICKED and first:
            total += user.bytes
        elif user.code not in _CHANGED or not first:
            return op.bytes
    return min(total, op.bytes)


def _written(root: Op, inside: dict[str, Op]) -> int:
    """Bytes that a fusion writes, given its last instruction."""
    if root.code == "tuple":
        return sum(_written(inside[name], inside) for name in root.operands)
    if root.code in _PASSED and inside[root.operands[0]].code in _CHANGED:
        return _written(inside[root.operands[0]], inside)
    if root.code in _CHANGED:
        return inside[root.operands[_CHANGED[root.code]]].bytes
    return root.bytes


def _product(op: Op, known: dict[str, Op]) -> tuple[float, str]:
    """Multiplications and additions of a matrix product, and kind of its numbers."""
    left = known[op.operands[0]].result[0]
    inner = math.prod(left.sizes[axis] for axis in op.numbers("lhs_contracting_dims"))
    return 2.0 * inner * math.prod(op.result[0].sizes), left.kind
