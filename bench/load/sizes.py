"""Bytes a sample of one flight: what the edge seals and sends, beside what others would store.

In: a flight of the plant, its signal set. Out: per format bytes a sample, and the ratio to ours.
Always holds: each format gets the same blocks (10 to 30 s of a group) and keeps what the bus said
to at least float32; ours holds quality, status, counters and times as well, the others values and
times only.
"""

from __future__ import annotations

import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import zstandard
from pcodec import ChunkConfig, standalone

from bench.codec import cut, float32_zstd
from edge.link.mqtt import FRAMING_BYTES
from hil.plant.flight import Flight
from shared.block import Block, encode_block
from shared.envelope import TIME_BUS, seal
from shared.signals import SignalSet
from shared.topics import topic

OPERATOR, TAIL = "OPX", "B737-28001"


def sizes(flight: Flight, signals: SignalSet) -> dict[str, dict[str, float]]:
    """Format to bytes a sample, and how many times ours as sealed."""
    blocks = cut(flight, signals)
    samples = sum(block.quality.size for block in blocks)
    values = {id(b): _values(b, signals) for b in blocks}
    formats: dict[str, Callable[[Block], int]] = {
        "block/1 as sealed": lambda b: len(encode_block(b)),
        "block/1 on the wire": _wire,
        "zig-zag deltas, pcodec, values only": lambda b: _pco(b),
        "integer deltas, byte-shuffled, zstd-3": _shuffled,
        "integer columns, xz -9e": _xz,
        "float32 columns, zstd-3": lambda b: len(float32_zstd(b)),
        "Gorilla XOR, approximated": lambda b: _gorilla(values[id(b)]),
        "JSON lines, zstd-3": lambda b: len(_json(b, values[id(b)], signals)),
        "Sparkplug-B-like, zstd-3": lambda b: len(_sparkplug(b, values[id(b)])),
    }
    found = {name: sum(map(size, blocks)) / samples for name, size in formats.items()}
    found["Parquet float32, zstd (one file)"] = _parquet(blocks, values, signals) / samples
    ours = found["block/1 as sealed"]
    return {
        name: {"bytes_per_sample": round(size, 3), "times_ours": round(size / ours, 2)}
        for name, size in found.items()
    }


def _values(block: Block, signals: SignalSet) -> np.ndarray[Any, Any]:
    """Engineering values [n, signals] as float32."""
    group = signals.group(block.group)
    out = np.empty((block.n, len(group.signal)))
    out[:, ~group.is_f64], out[:, group.is_f64] = block.raw, block.f64
    scale = np.array([s.scale for s in group.signal])
    whole: np.ndarray[Any, Any] = out * scale + np.array([s.offset for s in group.signal])
    return whole.astype("<f4")


def _wire(block: Block) -> int:
    """The record as MQTT carries it: envelope, fixed header, topic, TCP and IPv4."""
    _, data = seal(
        operator=OPERATOR, tail=TAIL, epoch="0123456789ab", stream=f"block-{block.group}",
        seq=1000, cls="block", flight=f"{TAIL}-F00001", t_event_ns=int(block.t_ns[0]),
        t_quality=TIME_BUS, schema="block/1", codec="", payload=encode_block(block),
    )  # fmt: skip
    return len(data) + FRAMING_BYTES + len(topic(OPERATOR, TAIL, "block"))


def _deltas(block: Block) -> np.ndarray[Any, Any]:
    deltas = block.raw.copy()
    deltas[1:] -= block.raw[:-1]
    return ((deltas << 1) ^ (deltas >> 63)).T.reshape(-1).astype("<u4")


def _pco(block: Block) -> int:
    deltas = _deltas(block)
    packed = len(standalone.simple_compress(deltas, ChunkConfig())) if deltas.size else 0
    return packed + _f64(block)


def _shuffled(block: Block) -> int:
    shuffled = _deltas(block).view(np.uint8).reshape(-1, 4).T.tobytes()
    return len(zstandard.ZstdCompressor(level=3).compress(shuffled)) + _f64(block)


def _f64(block: Block) -> int:
    return len(zstandard.ZstdCompressor(level=3).compress(block.f64.T.tobytes()))


def _xz(block: Block) -> int:
    data = block.raw.astype("<i4").T.tobytes() + block.f64.T.tobytes()
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def _json(block: Block, values: np.ndarray[Any, Any], signals: SignalSet) -> bytes:
    names = [s.name for s in signals.group(block.group).signal]
    lines = (
        json.dumps({"t": t} | dict(zip(names, row, strict=True)))
        for t, row in zip(block.t_ns.tolist(), _short(values), strict=True)
    )
    return zstandard.ZstdCompressor(level=3).compress("\n".join(lines).encode())


def _short(values: np.ndarray[Any, Any]) -> list[list[float]]:
    """As one would print a float32: seven digits."""
    return [[float(f"{x:.7g}") for x in row] for row in values.tolist()]


def _sparkplug(block: Block, values: np.ndarray[Any, Any]) -> bytes:
    """A payload a reading: timestamp, and a metric a signal with alias, type and float32."""
    n, k = values.shape
    # metric: field 2, length; alias (2), datatype (4) = Float 9, float_value (12), fixed32
    metric = np.zeros((n, k, 11), np.uint8)
    metric[:, :, 0], metric[:, :, 1] = 0x12, 9
    metric[:, :, 2], metric[:, :, 3] = 0x10, np.arange(k)
    metric[:, :, 4], metric[:, :, 5] = 0x20, 9
    metric[:, :, 6] = 0x65
    metric[:, :, 7:] = values.view(np.uint8).reshape(n, k, 4)
    rows = metric.reshape(n, -1)
    out = bytearray()
    for i, t_ms in enumerate((block.t_ns // 1_000_000).tolist()):
        out += b"\x08" + _varint(t_ms) + rows[i].tobytes() + b"\x18" + _varint(i & 255)
    return zstandard.ZstdCompressor(level=3).compress(bytes(out))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _gorilla(values: np.ndarray[Any, Any]) -> int:
    """Facebook's XOR scheme on float32, its bits counted: 1 for a repeat, else 2 and the meaningful
    bits in the last window, or 2 + 5 + 5 and a new window. Times: 1 bit a reading (regular)."""
    bits = len(values)
    for column in np.ascontiguousarray(values.T).view("<u4"):
        lead, tail = 32, 0
        bits += 32
        for x in (column[1:] ^ column[:-1]).tolist():
            if not x:
                bits += 1
                continue
            leading, trailing = 32 - x.bit_length(), (x & -x).bit_length() - 1
            if leading >= lead and trailing >= tail:
                bits += 2 + 32 - lead - tail
            else:
                lead, tail = leading, trailing
                bits += 12 + 32 - lead - tail
    return bits // 8 + 1


def _parquet(
    blocks: list[Block], values: dict[int, np.ndarray[Any, Any]], signals: SignalSet
) -> int:
    """A wide file a group, float32 columns, zstd, row groups of 60 s and more."""
    total = 0
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as db:
        for group in signals.groups:
            mine = [b for b in blocks if b.group == group.name]
            table = {"t_ns": np.concatenate([b.t_ns for b in mine])}
            whole = np.concatenate([values[id(b)] for b in mine])
            for i, signal in enumerate(group.signal):
                table[signal.name] = np.ascontiguousarray(whole[:, i])
            path = Path(folder) / f"{group.name}.parquet"
            db.register("flown", table)
            db.table("flown").to_parquet(str(path), compression="zstd")
            total += path.stat().st_size
    return total
