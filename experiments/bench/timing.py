"""Clocks, the machine's matrix-multiply peak, and counted arithmetic."""

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp


class Timing(NamedTuple):
    """Seconds of one call: medians over repetitions.

    ``cpu`` adds up all threads of this process and is the figure that survives other
    work on the machine; on an accelerator only ``wall`` means anything. ``working`` is
    the memory in bytes that a call needs besides its arguments and results.
    """

    cpu: float
    wall: float
    compile: float
    working: int


def cpu_seconds() -> float:
    """CPU time of this process so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def busy_seconds() -> float:
    """CPU time on a CPU, the clock's elsewhere."""
    return cpu_seconds() if jax.default_backend() == "cpu" else time.perf_counter()


def measure(function: Callable[..., Any], *args: Any, seconds: float = 3.0) -> Timing:
    """Compiles a function and times calls for about ``seconds``, at least three."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_seconds = time.perf_counter() - began
    jax.block_until_ready(compiled(*args))
    cpu, wall = [], []
    until = time.perf_counter() + seconds
    while len(wall) < 3 or time.perf_counter() < until:
        c, w = cpu_seconds(), time.perf_counter()
        jax.block_until_ready(compiled(*args))
        cpu.append(cpu_seconds() - c)
        wall.append(time.perf_counter() - w)
    memory = compiled.memory_analysis()
    return Timing(
        statistics.median(cpu),
        statistics.median(wall),
        compile_seconds,
        memory.temp_size_in_bytes if memory else 0,
    )


def peak_gflops(size: int = 1024) -> float:
    """Measured float32 matrix-multiply rate, per CPU-second or accelerator second."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    timing = measure(lambda x: jnp.dot(x, x, precision="highest"), a, seconds=1.0)
    return 2 * size**3 / busy(timing) / 1e9


def busy(timing: Timing) -> float:
    """CPU seconds on a CPU, wall seconds elsewhere."""
    return timing.cpu if jax.default_backend() == "cpu" else timing.wall


def counted_gflop(function: Callable[..., Any], *args: Any) -> float:
    """Arithmetic of all matrix products that a call makes, loops included.

    Counted in the traced program; of a branch, the costlier side.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr) / 1e9


def _flops(jaxpr: Any) -> float:
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: Any) -> float:
    if equation.primitive.name == "dot_general":
        (contract, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        inner = 1.0
        for axis in contract:
            inner *= left[axis]
        return 2.0 * inner * equation.outvars[0].aval.size
    inside = [_flops(j) for j in _sub_jaxprs(equation.params)]
    if equation.primitive.name == "cond":
        return max(inside, default=0.0)
    times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    return times * sum(inside)


def _sub_jaxprs(params: dict[str, Any]) -> list[Any]:
    """Jaxprs among an equation's parameters, whatever they are called."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, jex.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, jex.Jaxpr):
                found.append(item)
    return found
