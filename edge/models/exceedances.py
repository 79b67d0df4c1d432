"""Exceedances: the alert rules of a signal set, judged on batches of readings.

In: one batch of a group, as values with quality. Out: `Alert` messages.
Always holds: only good samples are judged; a batch in which nothing is over a limit costs one
comparison of arrays, whatever the rate of the group. The book is restored before the first batch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.acquire.urgent import Level, Urgent
from edge.models.alerts import AlertBook, Float64, Int64, Rule
from shared.messages import Alert
from shared.phases import Phase
from shared.signals import Exceedance, Signal, SignalSet

HOLE_NS = 3_000_000_000  # the largest age a signal may have …
HOLE_PERIODS = 2.5  # … but for slow groups: frames and superframes bring one in 4 to 64 s


class _GroupRules:
    """The rules on signals of one group, as arrays."""

    def __init__(self, rules: list[Rule], columns: list[int]) -> None:
        self.rules, self.columns = rules, np.array(columns)
        self.sign = np.array([1.0 if rule.high else -1.0 for rule in rules])
        self.onset = np.array([rule.onset for rule in rules]) * self.sign
        self.busy = True
        """A rule of this group may stand, or its persistence run."""


class Exceedances:
    """All exceedance rules of a signal set."""

    def __init__(self, signals: SignalSet, book: AlertBook) -> None:
        self._book = book
        by_group: dict[str, tuple[list[Rule], list[int]]] = {}
        for item in signals.exceedances:
            group, index = signals.position[item.signal]
            rules, columns = by_group.setdefault(group.name, ([], []))
            rules.append(_rule(item, group.signal[index], group.period_ns))
            columns.append(index)
        self._groups = {name: _GroupRules(*parts) for name, parts in by_group.items()}
        self.urgent = Urgent([_level(signals, item) for item in signals.exceedances])
        """What a tick asks sources for, between the slices in which all groups are taken."""
        self._index = signals.group_index

    def judge(
        self,
        group: str,
        t_ns: Int64,
        counter: Int64,
        values: Float64,
        quality: npt.NDArray[np.uint8],
        phase: Phase,
    ) -> list[Alert]:
        """Changes in one batch. t_ns, counter [n]; values, quality [n, signals of the group]."""
        known = self._groups.get(group)
        if known is None or not len(t_ns):
            return []
        columns = values[:, known.columns]
        over = columns * known.sign >= known.onset
        if not (known.busy or over.any()):
            return []
        good = quality[:, known.columns] == 0
        touched = (good & over).any(axis=0)
        alerts = []
        for j, rule in enumerate(known.rules):
            usable = good[:, j]
            if (touched[j] or not self._book.is_idle(rule)) and usable.any():
                at = np.flatnonzero(usable)
                alerts += self._book.judge(
                    rule, t_ns[at], columns[at, j], phase,
                    lambda i, at=at: (group, int(counter[at[i]])),  # type: ignore[misc]
                )  # fmt: skip
        known.busy = not all(self._book.is_idle(rule) for rule in known.rules)
        (self.urgent.busy.add if known.busy else self.urgent.busy.discard)(self._index[group])
        return alerts


def _level(signals: SignalSet, item: Exceedance) -> Level:
    """The raw value from which on a rule may have something to say, one LSB early."""
    group, position = signals.position[item.signal]
    signal, is_f64 = group.signal[position], bool(group.is_f64[position])
    flags = group.is_f64[:position]
    field, column = ("f", int(flags.sum())) if is_f64 else ("i", int((~flags).sum()))
    fields = group.dtype.fields
    assert fields is not None, "a reading is a record"
    is_high = item.direction == "high"
    return Level(
        group=signals.group_index[group.name], is_f64=is_f64, is_high=is_high,
        offset=fields[field][1] + (8 if is_f64 else 4) * column,
        level=(item.onset - signal.offset) / signal.scale + (-1 if is_high else 1),
    )  # fmt: skip


def _rule(item: Exceedance, signal: Signal, period_ns: int) -> Rule:
    return Rule(
        name=item.name, fault_code=item.fault_code, severity=item.severity, onset=item.onset,
        clear=item.clear, high=item.direction == "high",
        persistence_ns=round(item.persistence_s * 1e9),
        clear_persistence_ns=round(item.clear_persistence_s * 1e9),
        phases=item.phases, rate_per_hour_max=item.rate_per_hour_max,
        hole_ns=max(HOLE_NS, round(HOLE_PERIODS * period_ns)),
        ata=signal.ata, signal=signal.name, unit=signal.unit, latched=item.latched,
    )  # fmt: skip
