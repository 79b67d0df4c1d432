"""One hop, flown once for all tests of the bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.plant.flight import Flight
from hil.plant.fly import fly
from shared.signals import SignalSet, load_signal_set

SIGNALS = Path(__file__).parents[3] / "firmware_profiles" / "signals" / "b737_bench.toml"


@pytest.fixture(scope="session")
def signal_set() -> SignalSet:
    return load_signal_set(SIGNALS)


@pytest.fixture(scope="session")
def hop(signal_set: SignalSet) -> Flight:
    return fly("hop", 1, signal_set)
