"""A block: 10 to 30 s of one signal group, columnar and compressed.

In: the readings of one group as arrays. Out: bytes, and from bytes the same arrays again.
Layout: magic `TTB1`, header length (u32), header (MessagePack), integer columns, float
columns, CRC-32 of all that precedes it. Integer columns hold what the bus carried, exactly.
Always holds: any bytes either decode to bounded arrays or raise `Corrupt`; the CRC is checked
first, sizes before anything is allocated.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from pcodec import ChunkConfig, standalone

from shared.errors import Corrupt
from shared.topics import IDENTIFIER

MAGIC = b"TTB1"
BLOCK_BYTES_MAX = 1 << 20
ROW_COUNT_MAX = 1 << 16
VALUE_COUNT_MAX = 1 << 20  # rows times signals, so at most 8 MiB of raw once decoded
Codec = Literal["pco", "zstd"]
REPLACES_MAX = 8  # a block is thinned at most a few times, and names each one before it
CODEC_DEFAULT: Codec = "pco"
"""Chosen by bench/codec.py; docs/adr/0004 has the figures."""

Replaced = tuple[str, str, int]
"""(epoch, stream, seq) of a record that this block stands for."""

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Readings of one group.

    t_ns: event time of each reading, ns, shape (n,). counter: bus counter, shape (n,).
    raw: int and enum signals in the order of the set, shape (n, n_int). f64: float signals,
    shape (n, n_f64). status, quality: one byte a sample, shape (n, n_int + n_f64).
    """

    group: str
    set_sha256: bytes
    period: str
    boot: int
    mono_t0_ns: int
    t_quality: int
    t_ns: I64
    counter: I64
    raw: I64
    f64: F64
    status: U8
    quality: U8
    keep_every: int = 1
    replaces: tuple[Replaced, ...] = ()

    @property
    def n(self) -> int:
        return len(self.t_ns)

    def rows(self, first: int, last: int) -> Block:
        """Readings [first, last) of this block."""
        columns = ("t_ns", "counter", "raw", "f64", "status", "quality")
        return replace(self, **{name: getattr(self, name)[first:last] for name in columns})


class _Header(msgspec.Struct, frozen=True, array_like=True):
    codec: Codec
    group: str
    set_sha256: bytes
    period: str
    boot: int
    mono_t0_ns: int
    t_quality: int
    n: int
    n_int: int
    n_f64: int
    t0_ns: int
    step_ns: int
    t_exceptions: bytes
    counter0: int
    counter_exceptions: bytes
    presence: bytes
    quality_runs: bytes
    status_runs: bytes
    int_bytes: int
    f64_bytes: int
    counter_step: int = 1
    keep_every: int = 1
    replaces: tuple[Replaced, ...] = ()


_EXCEPTION = np.dtype([("index", "<u4"), ("value", "<i8")])
_RUN = np.dtype([("length", "<u4"), ("value", "u1")])
_DECODER = msgspec.msgpack.Decoder(_Header)


def encode_block(block: Block, codec: Codec = CODEC_DEFAULT) -> bytes:
    """Bytes of a block of at least one reading; ValueError when it is over a cap."""
    n, n_int, n_f64 = block.n, block.raw.shape[1], block.f64.shape[1]
    if not 0 < n <= ROW_COUNT_MAX or n * max(1, n_int + n_f64) > VALUE_COUNT_MAX:
        raise ValueError(f"{n} readings of {n_int + n_f64} signals do not make a block")
    present = block.raw.any(axis=0)
    ints = _pack_ints(block.raw[:, present], codec)
    floats = _pack_words(block.f64.T.reshape(-1).view(np.uint64), codec)
    steps = np.diff(block.t_ns)
    step = int(np.median(steps)) if n > 1 else 0
    counts = np.diff(block.counter)
    counter_step = int(np.median(counts)) if n > 1 else 1
    header = _Header(
        codec, block.group, block.set_sha256, block.period, block.boot, block.mono_t0_ns,
        block.t_quality, n, n_int, n_f64,
        int(block.t_ns[0]), step, _exceptions(steps, step),
        int(block.counter[0]), _exceptions(counts, counter_step),
        np.packbits(present).tobytes(), _runs(block.quality), _runs(block.status),
        len(ints), len(floats), counter_step, block.keep_every, block.replaces,
    )  # fmt: skip
    head = msgspec.msgpack.encode(header)
    body = b"".join((MAGIC, struct.pack("<I", len(head)), head, ints, floats))
    if len(body) + 4 > BLOCK_BYTES_MAX:
        raise ValueError(f"a block of {len(body)} bytes is over the cap; seal earlier")
    return body + struct.pack("<I", zlib.crc32(body))


def decode_block(data: bytes) -> Block:
    """The block of `data`; Corrupt when these bytes are not one."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError, OverflowError, struct.error, RuntimeError,
            TypeError, zstandard.ZstdError) as error:  # fmt: skip
        raise Corrupt(f"not a block: {error}", "block", "ask the sender for it again") from None


def _decode(data: bytes) -> Block:
    if not 12 <= len(data) <= BLOCK_BYTES_MAX or data[:4] != MAGIC:
        raise ValueError("no TTB1 magic, or a size out of bounds")
    if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise ValueError("CRC-32 differs")
    head_bytes = struct.unpack("<I", data[4:8])[0]
    if head_bytes > len(data) - 12:
        raise ValueError("header longer than the block")
    head = _DECODER.decode(data[8 : 8 + head_bytes])
    k = head.n_int + head.n_f64
    if not (0 < head.n <= ROW_COUNT_MAX and head.n_int >= 0 and head.n_f64 >= 0
            and 0 < k <= 4096 and head.n * k <= VALUE_COUNT_MAX):  # fmt: skip
        raise ValueError("row or signal count out of bounds")
    _check_thinning(head)
    ints_at = 8 + head_bytes
    floats_at = ints_at + head.int_bytes
    if head.int_bytes < 0 or head.f64_bytes < 0 or floats_at + head.f64_bytes != len(data) - 4:
        raise ValueError("section lengths do not add up")
    present = _presence(head)
    raw = np.zeros((head.n, head.n_int), np.int64)
    raw[:, present] = _unpack_ints(data[ints_at:floats_at], head.n, int(present.sum()), head.codec)
    words = _unpack_words(data[floats_at:-4], head.n * head.n_f64, head.codec)
    f64 = words.view(np.float64).reshape(head.n_f64, head.n).T
    t_ns = head.t0_ns + _series(head.n, head.step_ns, head.t_exceptions)
    counter = head.counter0 + _series(head.n, head.counter_step, head.counter_exceptions)
    return Block(
        head.group, head.set_sha256, head.period, head.boot, head.mono_t0_ns, head.t_quality,
        t_ns, counter, raw, np.ascontiguousarray(f64),
        _unruns(head.status_runs, head.n, k), _unruns(head.quality_runs, head.n, k),
        head.keep_every, head.replaces,
    )  # fmt: skip


def _check_thinning(head: _Header) -> None:
    if not 1 <= head.keep_every <= ROW_COUNT_MAX or len(head.replaces) > REPLACES_MAX:
        raise ValueError("keeps one reading of too many, or replaces too many records")
    for epoch, stream, seq in head.replaces:
        if not (IDENTIFIER.match(epoch) and IDENTIFIER.match(stream) and 0 <= seq < 1 << 62):
            raise ValueError("replaces what is no record")


def _presence(head: _Header) -> npt.NDArray[np.bool_]:
    if len(head.presence) != (head.n_int + 7) // 8:
        raise ValueError("presence mask of another length")
    bits = np.unpackbits(np.frombuffer(head.presence, np.uint8), count=head.n_int)
    return bits.astype(np.bool_)


def _pack_ints(columns: I64, codec: Codec) -> bytes:
    """Zig-zag deltas down each column, all columns one after the other."""
    deltas = columns.copy()
    deltas[1:] -= columns[:-1]
    zigzag = ((deltas << 1) ^ (deltas >> 63)).view(np.uint64)
    return _pack_words(zigzag.T.reshape(-1), codec)


def _unpack_ints(data: bytes, n: int, k: int, codec: Codec) -> I64:
    zigzag = _unpack_words(data, n * k, codec).reshape(k, n).T
    deltas = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
    values: I64 = np.cumsum(deltas, axis=0, dtype=np.int64)
    return values


def _pack_words(words: npt.NDArray[np.uint64], codec: Codec) -> bytes:
    if words.size == 0:
        return b""
    narrow = np.ascontiguousarray(words if words.max() >> np.uint64(32) else words.astype("<u4"))
    width = bytes([narrow.itemsize])
    if codec == "pco":
        return width + bytes(standalone.simple_compress(narrow, ChunkConfig()))
    shuffled = narrow.view(np.uint8).reshape(-1, narrow.itemsize).T.tobytes()
    return width + zstandard.ZstdCompressor(level=3).compress(shuffled)


def _unpack_words(data: bytes, count: int, codec: Codec) -> npt.NDArray[np.uint64]:
    if count == 0:
        if data:
            raise ValueError("bytes where no value is")
        return np.zeros(0, np.uint64)
    if not data or data[0] not in (4, 8):
        raise ValueError("unknown word width")
    width = data[0]
    if codec == "pco":
        words = np.zeros(count, np.uint32 if width == 4 else np.uint64)
        progress = standalone.simple_decompress_into(data[1:], words)
        if progress.n_processed != count or not progress.finished:
            raise ValueError("value count differs")
        return words.astype(np.uint64)
    # a declared size is believed by python-zstandard whatever max_output_size says
    if zstandard.frame_content_size(data[1:]) not in (count * width, -1):
        raise ValueError("value count differs")
    flat = zstandard.ZstdDecompressor().decompress(data[1:], max_output_size=count * width)
    if len(flat) != count * width:
        raise ValueError("value count differs")
    plain = np.ascontiguousarray(np.frombuffer(flat, np.uint8).reshape(width, count).T)
    return plain.view(f"<u{width}").reshape(count).astype(np.uint64)


def _exceptions(steps: I64, step: int) -> bytes:
    index = np.flatnonzero(steps != step)
    table = np.zeros(len(index), _EXCEPTION)
    table["index"], table["value"] = index, steps[index]
    return table.tobytes()


def _series(n: int, step: int, exceptions: bytes) -> I64:
    """0, then the running sum of steps, with the exceptions put in."""
    steps = np.full(n, step, np.int64)
    table = np.frombuffer(exceptions, _EXCEPTION)
    if len(table) and int(table["index"].max()) >= n - 1:
        raise ValueError("an exception beyond the rows")
    steps[1:][table["index"]] = table["value"]
    steps[0] = 0
    return np.cumsum(steps, dtype=np.int64)


def _runs(table: U8) -> bytes:
    flat = table.T.reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    runs = np.zeros(len(starts), _RUN)
    runs["length"] = np.diff(np.append(starts, len(flat)))
    runs["value"] = flat[starts]
    return runs.tobytes()


def _unruns(runs: bytes, n: int, k: int) -> U8:
    table = np.frombuffer(runs, _RUN)
    if int(table["length"].sum(dtype=np.uint64)) != n * k:
        raise ValueError("runs of another length")
    flat = np.repeat(table["value"], table["length"])
    return np.ascontiguousarray(flat.reshape(k, n).T)
