"""A program compiled ahead of time, with what it costs."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax import members, stops
from rolemarl_jax.program.program import Cursor, Program, SeedState
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.trees import tree_bytes


class Footprint(NamedTuple):
    """What one seed takes.

    Attributes:
        parameters: how many.
        state: bytes of everything kept between segments.
        replay: bytes of these that hold experience.
        working: bytes that a segment needs besides; where seeds are mapped one after
            another they share them.
    """

    parameters: int
    state: int
    replay: int
    working: int


class Compiled(NamedTuple):
    """The three functions of a ``Program``, compiled.

    Attributes:
        init: as in ``Program``.
        segment: as in ``Program``.
        evaluate: as in ``Program``.
        seconds: that compiling took.
        footprint: of one seed.
        peak: bytes of a device when most is needed.
    """

    init: Any
    segment: Any
    evaluate: Any
    seconds: float
    footprint: Footprint
    peak: int


def compile_training(program: Program, cfg: RunConfig) -> tuple[Any, Any, SeedState]:
    """Compiles what trains all members, ``init`` and ``segment``; nothing is computed.

    Returns:
        Both, and shapes and places of the state.

    Raises:
        KeyboardInterrupt: the command was asked to stop, before either.
    """
    stops.check()
    who = members.arrays(cfg, program.members)
    init = program.init.lower(*who).compile()
    state = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        jax.eval_shape(program.init, *who),
        init.output_shardings,
    )
    # A shape, not a number: the devices may be of another machine.
    count: Any = jax.ShapeDtypeStruct((), jnp.int32)
    at = Cursor(count, count, count)
    stops.check()
    return init, program.segment.lower(state, at, count).compile(), state


def compile_program(program: Program, cfg: RunConfig) -> Compiled:
    """Compiles all functions for all members; nothing is computed.

    Raises:
        KeyboardInterrupt: the command was asked to stop, before any of the three.
    """
    began = time.perf_counter()
    init, segment, state = compile_training(program, cfg)
    stops.check()
    evaluate = program.evaluate.lower(state).compile()
    seconds = time.perf_counter() - began
    footprint = _footprint(program, state, segment)
    most = max(peak(segment), peak(evaluate))
    return Compiled(init, segment, evaluate, seconds, footprint, most)


def peak(compiled: Any) -> int:
    """Bytes of a device: arguments, results, temporaries; donated ones count once."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return 0
    kept = sizes.argument_size_in_bytes - sizes.alias_size_in_bytes
    return kept + sizes.output_size_in_bytes + sizes.temp_size_in_bytes


def _footprint(program: Program, state: SeedState, segment: Any) -> Footprint:
    parameters = sum(x.size for x in jax.tree.leaves(state.learner.params))
    # XLA tells of one device; all have as many members.
    working = getattr(segment.memory_analysis(), "temp_size_in_bytes", 0)
    working *= program.devices
    together = (parameters, tree_bytes(state), tree_bytes(state.replay), working)
    return Footprint(*(total // program.members for total in together))
