"""An alert storm: some signals swing over a limit and back at every other reading.

In: a signal set, a flight, the names of signals. Out: a signal set with a limit on each and no
persistence, a flight that swings, and after the run the latency of every alert.
Always holds: latency is from the moment the player handed the reading to its socket to the
moment the edge handed the alert to the link's, both by the machine's monotonic clock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hil.plant.flight import Flight
from shared.errors import ConfigError
from shared.signals import STATUS_NORMAL, SignalSet

RULE = """
[[exceedance]]
name = "{name}"
fault_code = "00-00-000"
signal = "{signal}"
onset = {onset}
clear = {clear}
persistence_s = 0.0
clear_persistence_s = 0.0
rate_per_hour_max = 1000000
"""


def with_limits(text: str, signals: SignalSet, names: tuple[str, ...]) -> str:
    """The set's TOML with one exceedance a signal, in the middle of its range."""
    for name in names:
        if name not in signals.position or signals.signal(name).range is None:
            raise ConfigError(f"no signal {name!r} with a range", "storm", "name another")
        low, high = signals.signal(name).range or (0.0, 0.0)
        onset, clear = low + 0.6 * (high - low), low + 0.4 * (high - low)
        text += RULE.format(name=f"storm_{name.lower()}", signal=name, onset=onset, clear=clear)
    return text


def swing(flight: Flight, signals: SignalSet, names: tuple[str, ...]) -> None:
    """Make the signals alternate between a tenth and nine tenths of their range, in place."""
    for name in names:
        group, position = signals.position[name]
        signal = group.signal[position]
        low, high = signal.range or (0.0, 0.0)
        column = int((~group.is_f64[:position]).sum())
        readings = flight.groups[group.name]
        ends = [
            round((low + share * (high - low) - signal.offset) / signal.scale)
            for share in (0.1, 0.9)
        ]
        readings.raw[0::2, column], readings.raw[1::2, column] = ends
        readings.status[:, position] = STATUS_NORMAL


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from reading sent to alert durable, and to alert handed to the link."""

    n: int
    durable_ms: dict[str, float]
    handed_ms: dict[str, float]


def latency(edge_log: Path, sent: dict[str, dict[str, int]]) -> Latency:
    """From the edge's log and the player's stamps (group, counter: monotonic ns)."""
    trigger: dict[int, int] = {}
    durable, handed = [], []
    for line in edge_log.read_text().splitlines():
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if said.get("event") == "alert" and said.get("trigger"):
            group, counter = said["trigger"]
            sent_ns = sent.get(group, {}).get(str(counter))
            if sent_ns is not None:
                trigger[said["seq"]] = sent_ns
                durable.append((said["mono_ns"] - sent_ns) / 1e6)
        elif said.get("event") == "alert.handed" and said["seq"] in trigger:
            handed.append((said["mono_ns"] - trigger.pop(said["seq"])) / 1e6)
    return Latency(len(handed), _percentiles(durable), _percentiles(handed))


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    marks = {"p50": 50, "p99": 99, "p99_9": 99.9, "max": 100}
    return {name: round(float(np.percentile(values, mark)), 2) for name, mark in marks.items()}
