"""Decoding, validation and the table, on a small signal set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.acquire.reading import ReadingDecoder, Readings
from edge.acquire.table import SignalTable
from edge.acquire.validate import GroupValidator
from shared.quality import Quality, Reason, code
from shared.signals import READING_MAGIC, READING_VERSION, SignalSet, parse_signal_set

SET = b"""
name = "small"
version = 1
airframe = "T"
[[group]]
name = "air"
rate_hz = 10
[[group.signal]]
name = "ALT"
unit = "[ft_i]"
range = [-1000, 45000]
rate_max = 200
[[group.signal]]
name = "LOAD"
unit = "1"
encoding = "f64"
[[group.signal]]
name = "WOW"
unit = "1"
encoding = "enum"
enum = { air = 0, ground = 1 }
"""


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET, "small.toml")


def readings(signals: SignalSet, alt: list[int], status: list[list[int]] | None = None) -> bytes:
    group = signals.groups[0]
    table = np.zeros(len(alt), group.dtype)
    table["magic"], table["version"] = READING_MAGIC, READING_VERSION
    table["set_hash"] = signals.bus_hash
    table["counter"] = np.arange(len(alt))
    table["t_ns"] = 1_000_000_000 + np.arange(len(alt)) * group.period_ns
    table["i"][:, 0] = alt
    table["f"][:, 0] = 0.5
    if status:
        table["status"] = status
    return table.tobytes()


def split(signals: SignalSet, data: bytes) -> list[bytes]:
    size = signals.groups[0].dtype.itemsize
    return [data[i : i + size] for i in range(0, len(data), size)]


def decode(signals: SignalSet, data: bytes) -> Readings:
    (batch,) = ReadingDecoder(signals).decode(split(signals, data))
    return batch


def test_a_batch_decodes_to_what_the_bus_carried(signals: SignalSet) -> None:
    batch = decode(signals, readings(signals, [100, 101, 102]))
    assert batch.raw.tolist() == [[100, 0], [101, 0], [102, 0]]
    assert batch.f64.tolist() == [[0.5]] * 3
    assert batch.counter.tolist() == [0, 1, 2]


def test_foreign_messages_are_refused_by_cause_and_the_rest_is_kept(signals: SignalSet) -> None:
    rows = split(signals, readings(signals, [1, 2, 3, 4]))
    rows[0] = rows[0][:-1]
    rows[1] = b"XX" + rows[1][2:]
    rows[2] = rows[2][:4] + b"\0" * 8 + rows[2][12:]
    decoder = ReadingDecoder(signals)
    (batch,) = decoder.decode([*rows, b"", b"\0" * 30])
    assert batch.raw[:, 0].tolist() == [4]
    assert decoder.refused["length"] == 1 + 1  # the short one, and zeros in the name of group 0
    assert decoder.refused["magic or version"] == 1
    assert decoder.refused["signal set"] == 1
    assert decoder.refused["too short"] == 1


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_any_bytes_decode_or_are_counted(payloads: list[bytes]) -> None:
    decoder = ReadingDecoder(parse_signal_set(SET, "small.toml"))
    kept = sum(len(batch.t_ns) for batch in decoder.decode(payloads))
    assert kept + decoder.refused.total() == len(payloads)


def test_quality_names_the_strongest_finding(signals: SignalSet) -> None:
    status = [[0, 0, 0], [1, 0, 0], [2, 0, 3], [0, 0, 0], [0, 0, 0]]
    batch = decode(signals, readings(signals, [100, 60000, 60000, 110, 50000], status))
    validator = GroupValidator(signals.groups[0])
    quality = validator.judge(batch, validator.values(batch))
    assert quality[:, 0].tolist() == [
        code(Quality.GOOD),
        code(Quality.NO_DATA),
        code(Quality.BAD, Reason.FAILURE),
        code(Quality.GOOD),
        code(Quality.BAD, Reason.RANGE),
    ]
    assert quality[2, 2] == code(Quality.SUSPECT, Reason.TEST)


def test_rate_is_judged_across_batches(signals: SignalSet) -> None:
    validator = GroupValidator(signals.groups[0])
    first = decode(signals, readings(signals, [100, 110]))
    validator.judge(first, validator.values(first))
    table = np.frombuffer(readings(signals, [110, 400]), signals.groups[0].dtype).copy()
    table["t_ns"] += 2 * signals.groups[0].period_ns
    second = decode(signals, table.tobytes())
    quality = validator.judge(second, validator.values(second))
    assert quality[:, 0].tolist() == [0, code(Quality.SUSPECT, Reason.RATE)]


def test_a_signal_is_good_only_while_it_is_young_and_moving_in_time(signals: SignalSet) -> None:
    table = SignalTable(signals)
    validator = GroupValidator(signals.groups[0])
    batch = decode(signals, readings(signals, [100]))
    values = validator.values(batch)
    quality = validator.judge(batch, values)
    assert table.observe("ALT", 0).value is None
    table.update(batch, values, quality, now_ns=0)
    assert table.observe("ALT", 399_000_000).value == 100
    assert table.observe("ALT", 401_000_000).value is None
    table.update(batch, values, quality, now_ns=500_000_000)  # the same reading again: frozen bus
    assert table.observe("ALT", 500_000_000).value is None


def test_a_ring_of_old_readings_that_goes_round_grows_stale(signals: SignalSet) -> None:
    table, validator = SignalTable(signals), GroupValidator(signals.groups[0])
    rows = np.frombuffer(readings(signals, [100, 101, 102]), signals.groups[0].dtype)
    for i in range(20):
        one = decode(signals, rows[i % 3].tobytes())
        values = validator.values(one)
        table.update(one, values, validator.judge(one, values), now_ns=i * 100_000_000)
    assert table.observe("ALT", 600_000_000).value == 102
    assert table.observe("ALT", 1_900_000_000).value is None


def test_groups_wait_until_they_are_pulled_and_keep_their_order(signals: SignalSet) -> None:
    decoder = ReadingDecoder(signals)
    rows = split(signals, readings(signals, [1, 2, 3]))
    decoder.push(rows[:1])
    assert decoder.pull(frozenset({5})) == []
    decoder.push(rows[1:])
    (batch,) = decoder.pull(frozenset({0}))
    assert batch.raw[:, 0].tolist() == [1, 2, 3]
    assert decoder.pull() == []


def test_what_waits_is_bounded_and_a_flood_is_counted(signals: SignalSet) -> None:
    decoder = ReadingDecoder(signals)
    large = [bytes(16_000)] * 1000
    for _ in range(10):
        decoder.push(large)
    assert decoder.refused["flood"] == 8000  # 32 MiB hold two of them
    decoder.pull()
    (batch,) = decoder.decode(split(signals, readings(signals, [1])))
    assert batch.raw[:, 0].tolist() == [1]


def test_an_impossible_time_is_refused_and_a_jump_needs_agreement(signals: SignalSet) -> None:
    group = signals.groups[0]
    data = np.frombuffer(readings(signals, [1, 2, 3]), group.dtype).copy()
    data["t_ns"][1] |= 1 << 62
    decoder = ReadingDecoder(signals)
    (batch,) = decoder.decode(split(signals, data.tobytes()))
    assert batch.raw[:, 0].tolist() == [1, 3] and decoder.refused["time"] == 1
    table, validator = SignalTable(signals), GroupValidator(group)

    def see(t_s: int) -> int:
        rows = np.frombuffer(readings(signals, [1]), group.dtype).copy()
        rows["t_ns"] = t_s * 1_000_000_000
        one = decode(signals, rows.tobytes())
        values = validator.values(one)
        table.update(one, values, validator.judge(one, values), 0)
        return table.t_event_ns // 1_000_000_000

    assert [see(t) for t in (1000, 1001, 9_000_000, 1002)] == [1000, 1001, 1001, 1002]
    assert [see(t) for t in range(5000, 5006)] == [1002, 1002, 1002, 1002, 5004, 5005]
