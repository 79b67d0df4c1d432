"""What one enrolled tail, or a broken one, may send: refused by name, never another exception."""

from __future__ import annotations

import struct
import zlib

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.block import Block, _Header, decode_block, encode_block
from shared.envelope import PAYLOAD_BYTES_MAX, open_envelope, seal
from shared.errors import ConfigError, Corrupt, Rejected
from shared.identity import verify
from shared.messages import (
    Ack,
    Alert,
    Audit,
    Drop,
    Hello,
    Kpi,
    Manifest,
    Notice,
    Report,
    State,
    decode,
)
from shared.signals import pack_signal_set, parse_signal_set, unpack_signal_set

KINDS = (Ack, Alert, Audit, Drop, Hello, Kpi, Manifest, Notice, Report, State)
NESTED = b"\x91" * 50_000


def envelope() -> bytes:
    _, data = seal(
        operator="OPX", tail="T-1", epoch="e", stream="block-air", seq=1, cls="block",
        flight="T-1-G00001", t_event_ns=5, t_quality=1, schema="block/1", codec="", payload=b"p",
    )  # fmt: skip
    return data


def test_a_nested_trailing_element_is_refused() -> None:
    fields = envelope()
    assert fields[0] == 0x9F  # an array of 15
    with pytest.raises(Rejected):
        open_envelope(b"\xdc\x00\x10" + fields[1:] + NESTED)
    with pytest.raises(Rejected):
        decode(Hello, b"\x96\x01\xc4\x01a\x01\xa1e\x80" + NESTED, "hello")
    with pytest.raises(Rejected):
        verify("ack", b"\x94\xc4\x01a\xa1k\xc4\x01s" + NESTED, b"\0" * 32, "ack")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_rejected(kind: type, data: bytes) -> None:
    try:
        decode(kind, data, "test")
    except Rejected:
        pass


@pytest.mark.parametrize("value", [1 << 62, (1 << 64) - 1, -1])
def test_integers_that_would_overflow_behind_us_are_refused(value: int) -> None:
    hello = msgspec.msgpack.encode([1, b"n" * 16, value, "e", {}])
    with pytest.raises(Rejected):
        decode(Hello, hello, "hello")
    held = msgspec.msgpack.encode([1, b"n" * 16, 1, "e", {"kpi": [0, value]}])
    with pytest.raises(Rejected):
        decode(Hello, held, "hello")


def test_a_zstd_block_that_declares_a_petabyte_is_refused_before_it_is_made() -> None:
    n = 64
    ramp, flags = np.arange(n), np.zeros((n, 1), np.uint8)
    block = Block(
        "air", b"s" * 32, "F", 1, 0, 1, ramp, ramp, ramp[:, None], np.zeros((n, 0)), flags, flags
    )
    body = bytearray(encode_block(block, "zstd")[:-4])
    frame_at = body.index(zstandard.MAGIC_NUMBER.to_bytes(4, "little"))
    frame = bytes(body[frame_at:])
    bomb = frame[:4] + b"\xe0" + struct.pack("<Q", 1 << 50) + frame[6:]
    grown = bytes(body[:frame_at]) + bomb
    head_bytes = struct.unpack("<I", grown[4:8])[0]
    fields = msgspec.msgpack.decode(grown[8 : 8 + head_bytes])
    fields[_Header.__struct_fields__.index("int_bytes")] += len(bomb) - len(frame)
    head = msgspec.msgpack.encode(fields)
    forged = grown[:4] + struct.pack("<I", len(head)) + head + grown[8 + head_bytes :]
    with pytest.raises(Corrupt, match="value count differs"):
        decode_block(forged + struct.pack("<I", zlib.crc32(forged)))


@pytest.mark.parametrize(
    "text",
    [
        b"a = " + b"[" * 20_000,
        b'name = "x"\nversion = ' + b"9" * 5_000,
        b'name = "x"\nversion = 100000000000000000000\nairframe = "T"\ngroup = []',
        b"\xff\xfe",
        b"",
    ],
)
def test_a_signal_set_is_parsed_or_refused(text: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_signal_set(text, "test")


def test_a_payload_over_the_cap_is_refused_when_it_is_sealed() -> None:
    with pytest.raises(Rejected):
        seal(
            operator="O", tail="T", epoch="e", stream="block", seq=0, cls="block", flight="F",
            t_event_ns=0, t_quality=0, schema="s", codec="", payload=b"x" * (PAYLOAD_BYTES_MAX + 1),
        )  # fmt: skip


def test_a_packed_signal_set_comes_back_and_a_bomb_does_not() -> None:
    text = b'name = "x"\nversion = 1\nairframe = "T"\n[[group]]\nname = "g"\nrate_hz = 1\n'
    text += b'signal = [{ name = "A", unit = "1" }]\n' + b"# filling\n" * 1000
    signals = parse_signal_set(text, "test")
    packed = pack_signal_set(signals)
    assert len(packed) < len(text) // 10
    assert unpack_signal_set(packed, "zstd", "test").sha256 == signals.sha256
    assert unpack_signal_set(text, "", "test").sha256 == signals.sha256
    bomb = zstandard.ZstdCompressor().compress(b" " * (2 << 20))
    for payload, codec in ((bomb, "zstd"), (b"x", "zstd"), (packed[:-3], "zstd"), (text, "lz4")):
        with pytest.raises(ConfigError):
            unpack_signal_set(payload, codec, "test")
