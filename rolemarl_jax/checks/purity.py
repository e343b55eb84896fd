"""Whether a world's functions depend on their arguments alone."""

import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.checks.findings import Finding, fault
from rolemarl_jax.types import Env, shaped


def impure(env: Env) -> Iterator[Finding]:
    """Functions that are another program when they are traced once more."""
    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(env.reset, key)
    packed = jax.eval_shape(env.pack, state)
    actions = shaped((env.spec.n_agents,), jnp.int32)
    calls = {
        "reset": (env.reset, (key,)),
        "step": (env.step, (key, state, actions)),
        "observe": (env.observe, (state,)),
        "pack": (env.pack, (state,)),
        "unpack": (env.unpack, (packed,)),
    }
    if env.bodies is not None:
        calls["bodies"] = (env.bodies, (state,))
    for name, (function, arguments) in calls.items():
        if not _same_program(*(_program(function, arguments) for _ in range(2))):
            yield fault(
                f"{name}: gives another program each time it is traced: it draws from "
                "numpy's or Python's random numbers, or changes something outside; "
                "draw with jax.random from the key, keep what changes in the state"
            )


def _program(function: Any, arguments: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Text and constants of what a function is compiled to."""
    closed = jax.make_jaxpr(lambda *given: function(*given))(*arguments)
    return re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)), closed.consts


def _same_program(one: tuple[str, list[Any]], other: tuple[str, list[Any]]) -> bool:
    (text, consts), (other_text, others) = one, other
    if text != other_text or len(consts) != len(others):
        return False
    return all(a is b or _same(a, b) for a, b in zip(consts, others, strict=True))


def _same(a: Any, b: Any) -> bool:
    """Whether two constants are equal; keys by their data."""
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=False)
