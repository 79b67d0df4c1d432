"""Which groups must be looked at on the next tick, because an alert may hang on it.

In: levels on raw values, and payloads that wait. Out: yes or no, a group.
Always holds: a no is certain: no reading that waits reaches a level, and no rule of the group
stands or runs; a yes may be wrong and costs one look. What is not looked at waits for the slice
in which all groups are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

PAYLOADS_MAX: Final = 8  # more than that are cheaper as one batch of arrays
_INT, _F64 = Struct("<i"), Struct("<d")


@dataclass(frozen=True, slots=True)
class Level:
    """A reading touches it when the number at `offset` of its payload is `level` or beyond."""

    group: int
    offset: int
    is_f64: bool
    level: float
    is_high: bool


class Urgent(frozenset[int]):
    """Indices of the groups that hold an alert rule; a source may ask for no more than that."""

    def __new__(cls, levels: Sequence[Level]) -> Urgent:
        return super().__new__(cls, {level.group for level in levels})

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels: dict[int, list[Level]] = {}
        for level in levels:
            self._levels.setdefault(level.group, []).append(level)
        self.busy = set(self)
        """Groups of which a rule stands, or its persistence runs; at first all of them."""

    def asks_for(self, group: int, payloads: Sequence[bytes]) -> bool:
        """Whether these payloads, each of the group's size, have to be judged now."""
        if group not in self:
            return False
        if group in self.busy or len(payloads) > PAYLOADS_MAX:
            return True
        for level in self._levels[group]:
            read = (_F64 if level.is_f64 else _INT).unpack_from
            offset, limit, is_high = level.offset, level.level, level.is_high
            for payload in payloads:
                value = read(payload, offset)[0]
                if value >= limit if is_high else value <= limit:
                    return True
        return False
