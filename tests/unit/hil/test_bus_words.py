"""A flight over ARINC 429 and ARINC 717 arrives as it was, raw integer for raw integer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.acquire.arinc717 import FrameFileSource
from edge.acquire.reading import Readings
from edge.acquire.source import Source
from edge.acquire.wordfile import WordFileSource
from hil.bus import arinc429, arinc717
from hil.plant.flight import Flight
from hil.plant.flight import Readings as Flown
from shared.signals import STATUS_FAILURE, STATUS_NO_DATA, SignalSet, parse_signal_set

START = 1_700_000_000 * 10**9
SET = b"""
name = "s"
version = 1
airframe = "T"
[[group]]
name = "fast"
rate_hz = 8
signal = [
  { name = "G", unit = "[g]", bus = "IR", label = "333", arinc429 = { lsb = 17 }, arinc717 = { words = [2, 10, 18, 26, 34, 42, 50, 58], signed = true } },
  { name = "OK", unit = "1", bus = "IR", label = "270", arinc429 = { kind = "discrete", lsb = 11, msb = 11 }, arinc717 = { words = [3, 11, 19, 27, 35, 43, 51, 59], lsb = 5, msb = 5 } },
  { name = "MODE", unit = "1", bus = "IR", label = "270", arinc429 = { kind = "discrete", lsb = 12, msb = 15 }, arinc717 = { words = [3, 11, 19, 27, 35, 43, 51, 59], lsb = 1, msb = 4 } },
]
[[group]]
name = "slow"
rate_hz = 1
signal = [
  { name = "DIST", unit = "[nmi_i]", bus = "NAV", label = "201", sdi = "10", arinc429 = { kind = "bcd" }, arinc717 = { words = [5], signed = true, low = [{ word = 6 }] } },
]
"""  # noqa: E501


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET, "s.toml")


@pytest.fixture
def flight(signals: SignalSet) -> Flight:
    rng = np.random.default_rng(3)
    groups = {}
    for group, high in zip(signals.groups, ([2000, 1, 15], [79_999]), strict=True):
        n = 41 * int(group.rate_hz)
        raw = np.stack([rng.integers(0, top + 1, n) for top in high], axis=1)
        raw[:, 0] -= high[0] // 2
        t_ns = START + np.arange(n) * group.period_ns
        status = np.zeros(raw.shape, np.uint8)
        groups[group.name] = Flown(t_ns, raw, np.zeros((n, 0)), status)
    groups["fast"].status[7, 0] = STATUS_FAILURE
    groups["slow"].status[5, 0] = STATUS_NO_DATA
    return Flight(signals.sha256.hex(), groups, {"start_ns": START})


def everything(source: Source) -> dict[str, Readings]:
    source.open(1.0)
    while source.drain(4096):
        pass
    found = {batch.group.name: batch for batch in source.pull()}
    source.close()
    return found


def test_a_flight_over_arinc_429(tmp_path: Path, signals: SignalSet, flight: Flight) -> None:
    path = tmp_path / "words"
    arinc429.write_file(path, arinc429.from_flight(flight, signals, {"IR": 1, "NAV": 2}))
    found = everything(WordFileSource(path, {1: "IR", 2: "NAV"}, signals))
    for name, flown in flight.groups.items():
        readings = found[name]
        assert np.array_equal(readings.t_ns, flown.t_ns)
        assert np.array_equal(readings.status, flown.status)
        told = flown.status != STATUS_NO_DATA  # the sign of BCD is in the SSM that says so
        assert np.array_equal(readings.raw[told], flown.raw[told])
        assert np.array_equal(readings.counter, np.arange(flown.count))


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_flight_over_arinc_717(
    tmp_path: Path, signals: SignalSet, flight: Flight, is_packed: bool
) -> None:
    path = tmp_path / "frames"
    arinc717.write_file(path, arinc717.from_flight(flight, signals, 64), is_packed)
    found = everything(FrameFileSource(path, signals, 64, START, is_packed))
    for name, flown in flight.groups.items():
        readings = found[name]
        n = 40 * int(readings.group.rate_hz)
        assert np.array_equal(readings.t_ns, flown.t_ns[:n])
        assert np.array_equal(readings.raw, flown.raw[:n])
