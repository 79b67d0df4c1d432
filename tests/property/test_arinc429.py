"""ARINC 429: what the bench encodes the edge decodes; no word is lost or repeated; garbage is borne."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.acquire.arinc429 import WORD, FieldDecoder, WordDecoder, label_of, parity_is_odd
from edge.acquire.binning import RowBinner
from edge.acquire.udpwords import UdpWordSource
from hil.bus import arinc429 as bus
from shared.signals import (
    STATUS_ABSENT,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_TEST,
    Signal,
    parse_signal_set,
)
from shared.wiring import Arinc429, Kind

SET = parse_signal_set(
    b"""
name = "p"
version = 1
airframe = "T"
[[group]]
name = "g"
rate_hz = 20
signal = [
  { name = "A", unit = "1", bus = "B", label = "001", arinc429 = {} },
  { name = "B", unit = "1", bus = "B", label = "377", arinc429 = {} },
  { name = "C", unit = "1", bus = "B", label = "210", sdi = "10", arinc429 = {} },
]
""",
    "p.toml",
)


@st.composite
def wires(draw: st.DrawFn) -> Arinc429:
    kind: Kind = draw(st.sampled_from(("bnr", "bcd", "discrete")))
    lsb = draw(st.integers(11, 29))
    msb = draw(st.integers(lsb, 29))
    signed = draw(st.sampled_from((None, False, True))) if kind == "bnr" else None
    return Arinc429(kind=kind, lsb=lsb, msb=msb, signed=signed)


def bounds(wire: Arinc429) -> tuple[int, int]:
    bits = wire.msb - wire.lsb + 1
    if wire.kind == "bcd":
        most = int(
            "".join(str(min(9, (1 << min(4, bits - k)) - 1)) for k in range(0, bits, 4))[::-1]
        )
        return -most, most
    if wire.kind == "bnr" and wire.signed is not False:
        return -(1 << bits - 1), (1 << bits - 1) - 1
    return 0, (1 << bits) - 1


@settings(deadline=None)
@given(st.data(), wires(), st.integers(0, 0o377), st.integers(0, 3))
def test_what_is_encoded_is_decoded(
    data: st.DataObject, wire: Arinc429, label: int, sdi: int
) -> None:
    low, high = bounds(wire)
    raw = np.array(data.draw(st.lists(st.integers(low, high), min_size=1, max_size=20)))
    states = (STATUS_NORMAL, STATUS_NO_DATA, STATUS_FAILURE, STATUS_TEST)[
        : 4 if wire.kind != "bcd" else 2
    ]
    status = np.array([data.draw(st.sampled_from(states)) for _ in raw], np.uint8)
    signal = Signal(name="X", unit="1", label=f"{label:03o}", arinc429=wire)
    words = bus.make_words(signal, raw, status, sdi)
    assert parity_is_odd(words.astype(np.uint32)).all()
    assert (label_of(words) == label).all() and (words >> 8 & 3 == sdi).all()
    two = FieldDecoder([wire])(words[:, None] & 0x7FFFFFFF)
    found, state = two[0][:, 0], two[1][:, 0]
    assert state.tolist() == status.tolist()
    normal = status == STATUS_NORMAL if wire.kind == "bcd" else np.ones(len(raw), bool)
    assert found[normal].tolist() == raw[normal].tolist()  # the sign of BCD is in its SSM


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Times (ms, mostly growing), columns, and where the stream is cut into batches."""
    n = draw(st.integers(0, 60))
    steps = draw(
        st.lists(st.integers(-3, 60) | st.sampled_from((-5000, 9000)), min_size=n, max_size=n)
    )
    times = (10_000_000 + np.cumsum(steps)).tolist() if n else []
    columns = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    return times, columns, sorted(draw(st.lists(st.integers(0, n), max_size=6)))


@settings(deadline=None, max_examples=300)
@given(streams())
def test_every_word_is_in_exactly_one_row_and_in_order(
    stream: tuple[list[int], list[int], list[int]],
) -> None:
    times, columns, cuts = stream
    binner = RowBinner(50_000_000, 3)
    rows: list[list[int]] = []
    t_ns: list[int] = []
    counters: list[int] = []
    edges = [0, *cuts, len(times)]
    for k, (a, b) in enumerate([*pairwise(edges), (len(times), len(times))]):
        out = binner.take(
            np.array(times[a:b], np.int64) * 1_000_000, np.array(columns[a:b], np.int64),
            np.arange(a, b).astype(np.int64), flush=k == len(edges) - 1,
        )  # fmt: skip
        if out is not None:
            values = np.where(out.index >= 0, out.values[out.index].astype(np.int64), -1)
            rows += values.tolist()
            t_ns += out.t_ns.tolist()
            counters += out.counter.tolist()
    seen = [value for row in rows for value in row if value >= 0]
    assert sorted(seen) == list(range(len(times)))
    for row in rows:
        assert all(columns[value] == column for column, value in enumerate(row) if value >= 0)
    for column in range(3):  # of one label, the order of the bus
        in_rows = [row[column] for row in rows if row[column] >= 0]
        assert in_rows == sorted(in_rows)
    assert counters == sorted(set(counters))
    assert all(b >= a or a - b > 10**9 for a, b in pairwise(t_ns))
    assert binner.pending == 0


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_words_are_rows_or_are_counted(data: bytes) -> None:
    words = np.frombuffer(data[: len(data) // 16 * 16], WORD)
    decoder = WordDecoder(SET, {0: "B"}, "p")
    decoder.push(words)
    samples = sum(int((x.status != STATUS_ABSENT).sum()) for x in decoder.pull(None, 0, flush=True))
    assert samples + decoder.refused.total() == len(words)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=12))
def test_any_datagrams_are_borne(payloads: list[bytes]) -> None:
    source = UdpWordSource("127.0.0.1", 0, {0: "B"}, SET)
    source._buffer = bytearray(b"".join(p + bytes(-len(p) % 16) for p in payloads))
    sizes = [len(p) + -len(p) % 16 for p in payloads if p]
    if sizes:
        source._split(np.frombuffer(bytes(source._buffer), WORD), sizes)
    taken = source.drain(10_000)
    assert taken <= sum(sizes) // 16 and isinstance(source.pull(), list)
