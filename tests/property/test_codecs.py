"""Block and envelope codecs: what goes in comes out; any other bytes are refused, bounded."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.block import BLOCK_BYTES_MAX, Block, Codec, decode_block, encode_block
from shared.envelope import open_envelope, seal
from shared.errors import Corrupt, Rejected

CODECS = st.sampled_from(["pco", "zstd"])
I62 = st.integers(-(1 << 62), 1 << 62)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    n, n_int, n_f64 = draw(st.integers(1, 40)), draw(st.integers(0, 5)), draw(st.integers(0, 3))
    k = n_int + n_f64
    if k == 0:
        n_int = k = 1
    small = st.one_of(st.integers(-5, 5), st.integers(-(1 << 31), (1 << 31) - 1), I62)
    bits = hnp.arrays(np.uint64, (n, n_f64), elements=st.integers(0, (1 << 64) - 1))
    return Block(
        "air", draw(st.binary(min_size=32, max_size=32)), "T-1-G00001", draw(st.integers(0, 99)),
        draw(st.integers(0, 1 << 60)), 1,
        np.cumsum(draw(hnp.arrays(np.int64, n, elements=st.integers(-3, 1 << 40)))),
        np.cumsum(draw(hnp.arrays(np.int64, n, elements=st.integers(-2, 4)))),
        draw(hnp.arrays(np.int64, (n, n_int), elements=small)),
        draw(bits).view(np.float64),
        draw(hnp.arrays(np.uint8, (n, k))), draw(hnp.arrays(np.uint8, (n, k))),
    )  # fmt: skip


@given(blocks(), CODECS)
@settings(deadline=None)
def test_a_block_comes_back_bit_for_bit(block: Block, codec: Codec) -> None:
    again = decode_block(encode_block(block, codec))
    for name in ("t_ns", "counter", "raw", "status", "quality"):
        assert np.array_equal(getattr(again, name), getattr(block, name)), name
    assert np.array_equal(again.f64.view(np.uint64), block.f64.view(np.uint64))
    assert (again.group, again.period, again.boot) == (block.group, block.period, block.boot)


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_block_or_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_block(data)


@given(blocks(), CODECS, st.data())
@settings(deadline=None, max_examples=300)
def test_a_mutated_block_with_a_right_crc_never_crashes_or_grows(
    block: Block, codec: Codec, data: st.DataObject
) -> None:
    """The CRC catches accidents; here it is made right again, as an attacker would."""
    sealed = bytearray(encode_block(block, codec)[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        sealed[data.draw(st.integers(0, len(sealed) - 1))] = data.draw(st.integers(0, 255))
    forged = bytes(sealed) + zlib.crc32(bytes(sealed)).to_bytes(4, "little")
    try:
        decoded = decode_block(forged)
    except Corrupt:
        return
    assert decoded.raw.nbytes + decoded.f64.nbytes <= 8 << 20


def test_a_flipped_bit_anywhere_is_caught_by_the_crc() -> None:
    ramp = np.arange(50, dtype=np.int64)
    flags = np.zeros((50, 1), np.uint8)
    block = Block(
        "air", b"\1" * 32, "F", 1, 0, 1, ramp, ramp, ramp[:, None], np.zeros((50, 0)), flags, flags
    )
    sealed = encode_block(block)
    for i in range(len(sealed)):
        with pytest.raises(Corrupt):
            decode_block(sealed[:i] + bytes([sealed[i] ^ 4]) + sealed[i + 1 :])


def test_a_block_that_claims_more_rows_than_the_cap_is_refused_before_it_is_made() -> None:
    with pytest.raises(Corrupt):
        decode_block(b"TTB1" + b"\xff" * (BLOCK_BYTES_MAX + 1))


def sealed_envelope(payload: bytes = b"payload", seq: int = 7) -> bytes:
    _, data = seal(
        operator="OPX", tail="T-1", epoch="e0", stream="block-air", seq=seq, cls="block",
        flight="T-1-G00001", t_event_ns=5, t_quality=1, schema="block/1", codec="", payload=payload,
    )  # fmt: skip
    return data


@given(st.binary(max_size=500), st.integers(0, 1 << 61))
def test_an_envelope_comes_back(payload: bytes, seq: int) -> None:
    envelope = open_envelope(sealed_envelope(payload, seq))
    assert (envelope.payload, envelope.seq, envelope.identity[2]) == (payload, seq, "block-air")


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_rejected(data: bytes) -> None:
    with pytest.raises(Rejected):
        open_envelope(data)


def test_a_flipped_bit_anywhere_in_an_envelope_is_refused() -> None:
    data = sealed_envelope()
    for i in range(len(data)):
        for bit in range(8):
            with pytest.raises(Rejected):
                open_envelope(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :])


def test_an_unknown_version_is_refused_by_name_and_newer_fields_are_ignored() -> None:
    import msgspec

    fields = msgspec.msgpack.decode(sealed_envelope())
    newer = msgspec.msgpack.encode([*fields, "a field of tomorrow"])
    assert open_envelope(newer).seq == 7
    with pytest.raises(Rejected, match="version 9"):
        open_envelope(msgspec.msgpack.encode([9, *fields[1:]]))
    with pytest.raises(Rejected, match="version 9"):
        open_envelope(msgspec.msgpack.encode([9, {"quite": "different"}]))
