"""Integers from outside, bounded so that no sum, row or encoder behind them overflows.

In: nothing. Out: annotated types for msgspec structs; a value outside is a decoding error.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

BOUND = (1 << 62) - 1
"""Half of int64: two of them still add up without overflow."""

Int62 = Annotated[int, Meta(ge=-BOUND, le=BOUND)]
Count = Annotated[int, Meta(ge=0, le=BOUND)]
Int32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
Octet = Annotated[int, Meta(ge=0, le=255)]
