"""Types of the numbers in a configuration: every one has bounds."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

INT32 = 2**31 - 1  # devices count in int32
_FLOAT32 = 3.4e38  # and compute in float32, where more is infinite


def _whole(value: Any) -> Any:
    """``2e4`` and ``4.0`` are whole numbers, however they are written."""
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


_Whole = BeforeValidator(_whole)
Positive = Annotated[int, Field(ge=1, le=INT32), _Whole]
Natural = Annotated[int, Field(ge=0, le=INT32), _Whole]
# Sides of weight matrices: two at the bound are 16 GiB of float32.
Size = Annotated[int, Field(ge=1, le=2**16), _Whole]
# What is batched or listed one by one: seeds, worlds, rows.
Count = Annotated[int, Field(ge=1, le=10**6), _Whole]
CountOrNone = Annotated[int, Field(ge=0, le=10**6), _Whole]

Finite = Annotated[float, Field(ge=-_FLOAT32, le=_FLOAT32)]
NonNegative = Annotated[float, Field(ge=0, le=_FLOAT32)]
Above0 = Annotated[float, Field(gt=0, le=_FLOAT32)]
Fraction = Annotated[float, Field(ge=0, le=1)]
UpTo1 = Annotated[float, Field(gt=0, le=1)]
