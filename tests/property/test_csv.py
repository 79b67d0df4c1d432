"""CSV recordings: any bytes are borne, and how the file is cut into chunks changes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.acquire import csvfile
from edge.acquire.csvfile import CsvSource
from edge.acquire.csvtable import TimeColumn, TimeUnit
from shared.signals import parse_signal_set

SET = parse_signal_set(
    b"""
name = "c"
version = 1
airframe = "T"
[[group]]
name = "a"
rate_hz = 10
signal = [
  { name = "X", unit = "1", scale = 0.5 },
  { name = "E", unit = "1", encoding = "enum", enum = { off = 0, on = 1 } },
]
[[group]]
name = "b"
rate_hz = 1
signal = [{ name = "F", unit = "1", encoding = "f64" }]
""",
    "c.toml",
)
CELLS = st.sampled_from(
    ("", "0", "1.5", "on", "nan", "-inf", "1e400", "x", " 2 ", '"3"', '"', "\0", "\ufffd", "9" * 30)
)
TIMES = st.one_of(
    st.integers(-5, 10**6).map(str), st.floats(allow_nan=True).map(str),
    st.sampled_from(("", "2024-02-30T00:00:00", "2024-01-01T00:00:00Z", "9999-01-01T00:00:00", "1e999", "-1")),
)  # fmt: skip
ROWS = st.lists(
    st.tuples(TIMES, st.lists(CELLS, min_size=2, max_size=4)).map(
        lambda r: ",".join([r[0], *r[1]])
    ),
    max_size=20,
)


def read(
    text: bytes, unit: TimeUnit, chunk: int, step: int
) -> tuple[list[object], object, list[str]]:
    with tempfile.TemporaryDirectory() as folder, patch.object(csvfile, "CHUNK_BYTES", chunk):
        path = Path(folder) / "r.csv"
        path.write_bytes(text)
        source = CsvSource(path, SET, TimeColumn("t", unit))
        source.open(1.0)
        while source.drain(step):
            pass
        found: list[object] = []
        for batch in sorted(source.pull(), key=lambda b: b.group.name):
            assert batch.raw.shape[0] == batch.f64.shape[0] == len(batch.t_ns)
            assert np.all(np.diff(batch.counter) > 0) and np.isfinite(batch.f64).all()
            parts = batch.t_ns, batch.counter, batch.raw, batch.f64, batch.status
            found.append([part.tolist() for part in parts])
        source.close()
        assert source.has_ended
        return found, dict(source.refused), sorted(source.problems)


@settings(deadline=None, max_examples=80)
@given(ROWS, st.sampled_from(("s", "ns", "iso")), st.integers(1, 60), st.integers(1, 9),
       st.sampled_from(("\n", "\r\n")))  # fmt: skip
def test_chunks_change_nothing(
    rows: list[str], unit: TimeUnit, chunk: int, step: int, end: str
) -> None:
    text = ("t,X,E,F" + end + end.join(rows)).encode()
    assert read(text, unit, chunk, step) == read(text, unit, 1 << 16, 1000)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400), st.integers(1, 100))
def test_any_bytes_are_borne(data: bytes, chunk: int) -> None:
    read(b"t,X,E,F\n" + data, "s", chunk, 7)
