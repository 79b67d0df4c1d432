"""What is wrong with a declaration, as values: an author wants every fault, not the first.

In: nothing. Out: `Fault`, and `Rejected` made of several.
Always holds: a fault has a kind, a place in the declaration, and words that name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from shared.errors import Rejected

FAULTS_MAX = 32  # named in one error

Kind = Literal[
    "syntax", "size", "name", "unknown name", "no equation", "loop", "unit", "time unit",
    "temperature", "argument", "value", "range", "unstable", "step", "precision",
]  # fmt: skip


class Fault(msgspec.Struct, frozen=True):
    """place: of the declaration, such as `equation 2 (dV/dt), column 9`."""

    kind: Kind
    place: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.kind}: {self.place}: {self.what}"
        return f"{text} (to do: {self.remedy})" if self.remedy else text


def from_rejected(kind: Kind, error: Rejected) -> Fault:
    """An error of a parser, which stops at its first."""
    return Fault(kind, error.where, error.what, error.remedy)


def refuse(faults: Sequence[Fault], where: str) -> None:
    """Rejected with every fault, if there is one."""
    if faults:
        text = "; ".join(str(x) for x in faults[:FAULTS_MAX])
        raise Rejected(text, where, "correct the declaration")
