"""Which groups a tick looks at between slices: a no is certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.acquire.reading import ReadingDecoder
from edge.acquire.urgent import PAYLOADS_MAX
from edge.models.alerts import AlertBook
from edge.models.exceedances import Exceedances
from shared.phases import Phase
from shared.signals import READING_MAGIC, READING_VERSION, SignalSet, parse_signal_set


@pytest.fixture(scope="module")
def signals() -> SignalSet:
    return parse_signal_set(
        b"""
name = "t"
version = 1
airframe = "T"
[[group]]
name = "plain"
rate_hz = 10
signal = [{ name = "P", unit = "1" }]
[[group]]
name = "g"
rate_hz = 10
signal = [
  { name = "W", unit = "kg", encoding = "f64" },
  { name = "A", unit = "1" },
  { name = "X", unit = "Cel", scale = 0.5, offset = -10.0 },
]
[[exceedance]]
name = "x_high"
fault_code = "00-00-000"
signal = "X"
onset = 100.0
clear = 90.0
persistence_s = 0.0
[[exceedance]]
name = "x_low"
fault_code = "00-00-000"
signal = "X"
direction = "low"
onset = -5.3
clear = 0.0
persistence_s = 0.0
[[exceedance]]
name = "w_high"
fault_code = "00-00-000"
signal = "W"
onset = 70.5
clear = 60.0
persistence_s = 0.0
""",
        "t.toml",
    )


def payload(signals: SignalSet, x_raw: int, w: float, counter: int = 0) -> bytes:
    row = np.zeros(1, signals.groups[1].dtype)
    row["magic"], row["version"], row["group"] = READING_MAGIC, READING_VERSION, 1
    row["set_hash"], row["counter"], row["t_ns"] = signals.bus_hash, counter, 10**9 * (counter + 1)
    row["i"], row["f"] = [0, x_raw], w
    return row.tobytes()


@given(x_raw=st.integers(-100, 400), w=st.floats(-200, 200) | st.just(float("nan")))
@settings(max_examples=300, deadline=None)
def test_no_alert_hides_in_a_group_that_does_not_ask(
    signals: SignalSet, x_raw: int, w: float
) -> None:
    rules = Exceedances(signals, AlertBook())
    rules.urgent.busy.clear()
    asks = rules.urgent.asks_for(1, [payload(signals, x_raw, w)])
    value = 0.5 * x_raw - 10.0
    would_alert = value >= 100.0 or value <= -5.3 or w >= 70.5
    assert asks or not would_alert
    if not -6.0 <= value <= -4.0 and not 99.0 <= value <= 101.0 and not 69.0 <= w <= 71.0:
        assert asks == would_alert  # and it is no more than an LSB early


def test_a_quiet_group_waits_for_its_slice_and_a_standing_alert_is_followed(
    signals: SignalSet,
) -> None:
    rules, decoder = Exceedances(signals, AlertBook()), ReadingDecoder(signals)

    def tick(x_raw: int, counter: int) -> int:
        decoder.push([payload(signals, x_raw, 0.0, counter)])
        batches = decoder.pull(rules.urgent)
        for batch in batches:
            values = np.hstack([batch.f64, batch.raw * [1.0, 0.5] + [0.0, -10.0]])
            rules.judge("g", batch.t_ns, batch.counter, values,
                        np.zeros(values.shape, np.uint8), Phase.CRUISE)  # fmt: skip
        return sum(len(batch.t_ns) for batch in batches)

    assert tick(40, 0) == 1  # what was restored may stand: looked at until it is seen to be idle
    assert tick(40, 1) == 0
    assert tick(40, 2) == 0
    assert tick(300, 3) == 3  # over the onset: with it comes what waited
    assert tick(200, 4) == 1  # it stands, inside the hysteresis
    assert tick(40, 5) == 1  # and it clears once its persistence is over …
    assert [tick(40, 6 + k) for k in range(12)][-1] == 0  # … after which nothing asks any more
    assert sum(len(batch.t_ns) for batch in decoder.pull()) > 0


def test_many_waiting_readings_and_one_of_another_size_are_looked_at(signals: SignalSet) -> None:
    rules, decoder = Exceedances(signals, AlertBook()), ReadingDecoder(signals)
    rules.urgent.busy.clear()
    decoder.push([payload(signals, 40, 0.0, k) for k in range(PAYLOADS_MAX)])
    assert decoder.pull(rules.urgent) == []
    decoder.push([payload(signals, 40, 0.0, 99)])
    assert len(decoder.pull(rules.urgent)) == 1
    decoder.push([payload(signals, 40, 0.0)[:-1]])
    decoder.pull(rules.urgent)
    assert decoder.refused["length"] == 1


def test_groups_without_a_rule_and_groups_that_do_not_exist_never_ask(signals: SignalSet) -> None:
    rules, decoder = Exceedances(signals, AlertBook()), ReadingDecoder(signals)
    data = bytearray(payload(signals, 400, 0.0))
    for group in (0, 7):
        data[3] = group
        decoder.push([bytes(data)])
    assert decoder.pull(rules.urgent) == []
