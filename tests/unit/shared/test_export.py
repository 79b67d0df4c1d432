"""Frames of an export: whole ones come back, a damaged stretch costs what it covers and no more."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.envelope import seal
from shared.errors import Rejected
from shared.export import (
    FRAME_BYTES_MAX,
    JOURNAL,
    MANIFEST,
    MARK,
    RECORD,
    ExportManifest,
    Fault,
    Frame,
    Reader,
    Writer,
    open_manifest,
)

BODIES = [b"a" * 30, b"", MARK * 5, b"b" * 70_000]


def written(bodies: list[bytes], kind: int = JOURNAL) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for body in bodies:
        writer.put(kind, body)
    return file.getvalue()


def read(data: bytes) -> list[Frame | Fault]:
    return list(Reader(io.BytesIO(data)))


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_frames_come_back(bodies: list[bytes]) -> None:
    assert [part.body for part in read(written(bodies)) if isinstance(part, Frame)] == bodies


@given(st.integers(0, 1 << 20), st.integers(1, 255))
def test_one_changed_byte_costs_one_frame_and_is_told(at: int, flip: int) -> None:
    data = bytearray(written(BODIES))
    data[at % len(data)] ^= flip
    parts = read(bytes(data))
    whole = [part.body for part in parts if isinstance(part, Frame)]
    assert any(isinstance(part, Fault) for part in parts)
    assert len(whole) == len(BODIES) - 1 and all(body in BODIES for body in whole)


def test_a_damaged_record_is_named_where_its_head_still_reads() -> None:
    _, record = seal(
        operator="OPX", tail="T-1", epoch="e0", stream="alert", seq=7, cls="alert", flight="",
        t_event_ns=1, t_quality=1, schema="alert/1", codec="", payload=b"x" * 100,
    )  # fmt: skip
    data = bytearray(written([record], RECORD))
    data[-20] ^= 1
    assert str(read(bytes(data))[0]) == "byte 0: CRC-32 differs, record e0 alert 7"
    data = bytearray(written([record], RECORD))
    data[10] ^= 0xFF
    assert str(read(bytes(data))[0]) == "byte 0: CRC-32 differs, a record"


def test_a_length_beyond_the_cap_is_not_read() -> None:
    huge = MARK + (FRAME_BYTES_MAX + 1).to_bytes(4, "little") + bytes([RECORD]) + b"x" * 50
    parts = read(huge + written([b"after"]))
    assert isinstance(parts[0], Fault) and [p.body for p in parts[1:]] == [b"after"]  # type: ignore[union-attr]


def test_the_hash_before_the_manifest_is_the_same_for_writer_and_reader() -> None:
    file = io.BytesIO()
    writer = Writer(file)
    for body in BODIES:
        writer.put(JOURNAL, body)
    manifest = ExportManifest(1, "OPX", "T-1", 5, "", ["e0"], 1, [], 4, b"", [], 0, b"")
    made = writer.finish(manifest, None)
    reader = Reader(io.BytesIO(file.getvalue()))
    last = [part for part in reader if isinstance(part, Frame)][-1]
    assert last.kind == MANIFEST
    found, signed_by = open_manifest(last.body, None, "test")
    assert found == made and signed_by == ""
    assert (reader.bytes_before, reader.sha256) == (made.bytes_before, made.sha256)
    with pytest.raises(Rejected):
        open_manifest(last.body, b"\0" * 32, "test")
