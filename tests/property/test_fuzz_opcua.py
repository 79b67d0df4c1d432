"""Whatever an OPC UA server says is a value with a status, never an error."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge.acquire.opcua import _ns, _status, _value
from shared.signals import STATUS_NORMAL, Signal

SIGNALS = (
    Signal(name="A", unit="1"),
    Signal(name="B", unit="K", encoding="f64"),
    Signal(name="C", unit="1", encoding="enum", enum={"off": 0, "on": 1}),
    Signal(name="D", unit="kg", scale=1e-9, offset=-1e9),
)
ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(),
    st.text(max_size=20), st.binary(max_size=20), st.lists(st.integers(), max_size=3),
    st.datetimes(), st.sampled_from(["on", "off"]),
)  # fmt: skip


@given(ANYTHING, st.sampled_from(SIGNALS))
def test_any_value_of_a_server_is_a_number_with_a_status(value: Any, signal: Signal) -> None:
    raw, status = _value(value, signal, STATUS_NORMAL)
    assert isinstance(raw, float) and 0 <= status <= 255
    assert signal.encoding == "f64" or (math.isfinite(raw) and abs(raw) <= 1 << 31)


@given(st.integers(0, (1 << 32) - 1))
def test_any_status_code_is_a_status(code: int) -> None:
    assert 0 <= _status(code) <= 255


@given(st.datetimes(timezones=st.sampled_from([None, UTC])))
def test_any_time_of_a_server_is_a_time(at: datetime) -> None:
    assert isinstance(_ns(at), int)
