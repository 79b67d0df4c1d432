"""Targets: recordings and datagrams of aircraft buses, and behavioural models as files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edge.acquire.arinc429 import WORD
from edge.acquire.arinc717 import FrameFileSource
from edge.acquire.csvfile import CsvSource
from edge.acquire.framelayout import FrameCounter
from edge.acquire.source import Source
from edge.acquire.udpwords import HEAD, MAGIC, UdpWordSource
from edge.acquire.wordfile import FILE_HEAD, WordFileSource
from shared.behaviour.declaration import parse_declaration
from shared.behaviour.model import faults
from shared.signals import SignalSet, parse_signal_set

WHERE = "fuzz"
START_NS = 1_700_000_000 * 10**9
DRAINS_MAX = 1000
RATE = 64
WORDS_SET = b"""
name = "words"
version = 1
airframe = "T"
[[group]]
name = "air"
rate_hz = 10
signal = [
  { name = "ALT", unit = "[ft_i]", bus = "ADR", label = "203", arinc429 = { lsb = 12 } },
  { name = "MODE", unit = "1", bus = "ADR", label = "270", arinc429 = { kind = "discrete", lsb = 14, msb = 16 } },
  { name = "DME", unit = "[nmi_i]", scale = 0.01, bus = "NAV", label = "201", arinc429 = { kind = "bcd" } },
]
"""
FRAMES_SET = b"""
name = "frames"
version = 1
airframe = "T"
[[group]]
name = "fast"
rate_hz = 4
signal = [ { name = "G", unit = "[g]", arinc717 = { words = [2, 18, 34, 50], signed = true } } ]
[[group]]
name = "superframe"
rate_hz = 0.015625
signal = [ { name = "W", unit = "kg", arinc717 = { words = [9], subframes = [4], frame = 3 } } ]
"""
CSV_SET = b"""
name = "csv"
version = 1
airframe = "T"
[[group]]
name = "all"
rate_hz = 10
block_s = 5
signal = [ { name = "IAS", unit = "[kn_i]", encoding = "f64" }, { name = "N1_1", unit = "%" } ]
"""
CSV = b't,IAS,N1_1,bad\n0.0,120.5,50,x\n0.1,121,,y\n0.2,nan,51,"z"\n'
CHANNELS = {1: "ADR", 7: "NAV"}


@cache
def _set(text: bytes) -> SignalSet:
    return parse_signal_set(text, WHERE)


def _emptied(source: Source) -> object:
    """What a source made of it: groups, rows, refusals."""
    source.open(1.0)
    rows = 0
    try:
        for _ in range(DRAINS_MAX):
            if not source.drain(4096):
                break
            rows += sum(len(batch.t_ns) for batch in source.pull())
        rows += sum(len(batch.t_ns) for batch in source.pull())
    finally:
        source.close()
    return (rows.bit_length(), *sorted(source.refused))


def _in_file(make: Callable[[Path], Source], data: bytes) -> object:
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder) / "recording"
        path.write_bytes(data)
        return _emptied(make(path))


def csv(data: bytes) -> object:
    return _in_file(lambda path: CsvSource(path, _set(CSV_SET)), data)


def word_file(data: bytes) -> object:
    return _in_file(lambda path: WordFileSource(path, CHANNELS, _set(WORDS_SET)), data)


def frame_file(data: bytes, *, is_packed: bool) -> object:
    return _in_file(
        lambda path: FrameFileSource(
            path, _set(FRAMES_SET), RATE, START_NS, is_packed, FrameCounter(word=60)
        ),
        data,
    )


class _Datagrams:
    """A socket with these datagrams in it: each of up to 160 bytes."""

    def __init__(self, data: bytes) -> None:
        self._parts: Iterator[bytes] = (data[i : i + 160] for i in range(0, len(data), 160))

    def recv_into(self, view: memoryview) -> int:
        part = next(self._parts, None)
        if part is None:
            raise BlockingIOError
        view[: len(part)] = part
        return len(part)

    def close(self) -> None: ...


def datagrams(data: bytes) -> object:
    source = UdpWordSource("127.0.0.1", 0, CHANNELS, _set(WORDS_SET))
    source.open(1.0)
    real, fake = source._socket, _Datagrams(data)
    assert real is not None
    real.close()
    source._socket = fake  # type: ignore[assignment]  # what it uses of a socket
    rows = 0
    while source.drain(4096):
        rows += sum(len(batch.t_ns) for batch in source.pull())
    return (rows.bit_length(), *sorted(source.refused))


def behaviour(data: bytes) -> object:
    """A declaration, and what its check finds."""
    return (*sorted({fault.kind for fault in faults(parse_declaration(data, WHERE).model)}),)


# -- what they accept


def _words(n: int = 9) -> Any:
    words = np.zeros(n, WORD)
    words["t_ns"] = START_NS + np.arange(n) * 5_000_000
    names = words.dtype.names or ()
    for name in names:
        if name.startswith("chan"):
            words[name] = np.resize([1, 7], n)
        if name == "word":
            words[name] = np.resize([0xE00190A1, 0x600C80C1, 0x61000081], n)
    return words


def word_file_seeds() -> list[bytes]:
    return [FILE_HEAD + _words().tobytes(), FILE_HEAD + _words(60).tobytes()]


def datagram_seeds() -> list[bytes]:
    head = np.zeros(1, HEAD)
    head["magic"], head["version"], head["count"] = MAGIC, 1, 9
    one = head.tobytes() + _words().tobytes()
    head["sequence"] = 3
    return [one, one + head.tobytes() + _words().tobytes()]


def frame_seeds(*, is_packed: bool) -> list[bytes]:
    words = np.zeros((12, RATE), np.int64)
    words[:, 0] = np.resize([0o1107, 0o2670, 0o5107, 0o6670], 12)
    words[:, 59] = np.arange(12) // 4
    flat = words.ravel()
    if is_packed:
        pairs = flat.reshape(-1, 2)
        packed = np.empty((len(pairs), 3), np.uint8)
        packed[:, 0], packed[:, 2] = pairs[:, 0] & 255, pairs[:, 1] >> 4
        packed[:, 1] = (pairs[:, 0] >> 8) | (pairs[:, 1] & 15) << 4
        return [packed.tobytes()]
    return [flat.astype("<u2").tobytes()]
