"""What a check finds, and how arrays and errors are put into words."""

import traceback
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        level: a ``fault`` has to be mended; a ``note`` may be meant so.
        text: what was got, what is allowed, and where.
    """

    level: Literal["fault", "note"]
    text: str


def fault(text: str) -> Finding:
    """A finding that has to be mended."""
    return Finding("fault", text)


def note(text: str) -> Finding:
    """A finding that may be meant so."""
    return Finding("note", text)


class Stop(Exception):  # noqa: N818
    """A check that cannot go on; the finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def traced(name: str, function: Callable, *args: Any) -> Any:
    """Shapes of what a function returns, given shapes.

    Raises:
        Stop: it cannot be traced.
    """
    try:
        # A function of this call's own: what jax traced before is not looked up.
        return jax.eval_shape(lambda *given: function(*given), *args)
    except Exception as error:
        raise Stop(fault(f"{name} {reason(error)}")) from error


def reason(error: Exception) -> str:
    """What an exception says of a function, as the rest of a sentence."""
    where = _line(error)
    decides = (jax.errors.TracerBoolConversionError, jax.errors.ConcretizationTypeError)
    if isinstance(error, jax.errors.TracerArrayConversionError):
        what = "hands an array of jax to numpy; use jax.numpy"
    elif isinstance(error, decides):
        what = (
            "decides in Python (if, while, int, range) on a value that is known only "
            "when it runs; use jnp.where, jax.lax.cond or jax.lax.fori_loop"
        )
    elif isinstance(error, jax.errors.UnexpectedTracerError):
        what = "keeps an array of an earlier call; return it in the state"
    else:
        what = f"fails with {type(error).__name__}: {str(error).strip()[:300]}"
    return f"{what}{where}"


def _line(error: BaseException) -> str:
    """Where it was raised: the last line that is no package's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename]
    own = [f for f in own if "rolemarl_jax/checks" not in f.filename]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def mismatch(name: str, got: Any, shape: tuple[int, ...], dtype: Any) -> list[Finding]:
    """Compares an array, or its shape, with what it has to be."""
    if not hasattr(got, "shape") or not hasattr(got, "dtype"):
        what = type(got).__name__
        return [fault(f"{name}: got {what}; allowed: an array {_array(shape, dtype)}")]
    if tuple(got.shape) == shape and got.dtype == dtype:
        return []
    return [
        fault(
            f"{name}: got {_array(got.shape, got.dtype)}; "
            f"allowed: {_array(shape, dtype)}"
        )
    ]


def same_tree(name: str, got: Any, wanted: Any, of: str) -> list[Finding]:
    """Compares structure, shapes and types of two pytrees; ``of`` names the second."""
    if jax.tree.structure(got) != jax.tree.structure(wanted):
        return [
            fault(
                f"{name}: its structure is {jax.tree.structure(got)}; allowed: that of "
                f"{of}, {jax.tree.structure(wanted)}"
            )
        ]
    pairs = zip(jax.tree_util.tree_leaves_with_path(wanted), leaves(got), strict=True)
    found: list[Finding] = []
    for (path, one), other in pairs:
        where = f"{name}{jax.tree_util.keystr(path)}"
        found += mismatch(f"{where} (as in {of})", other, one.shape, one.dtype)
    return found


def leaves(tree: Any) -> list[Any]:
    """Leaves of a pytree."""
    return jax.tree.leaves(tree)


def _array(shape: Any, dtype: Any) -> str:
    return f"{np.dtype(dtype).name if _is_plain(dtype) else dtype}{[*shape]}"


def _is_plain(dtype: Any) -> bool:
    """Whether numpy knows a type; keys have types of their own."""
    return not jax.dtypes.issubdtype(dtype, jax.dtypes.extended)
