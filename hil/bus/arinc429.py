"""ARINC 429 words for the bench and for tests: made, sent by UDP, written to files.

In: raw integers, or a flight and a signal set. Out: words, datagrams, files, as docs/sources.md lays
them out. Always holds: written apart from the edge's decoder, so that one checks the other; every
word has odd parity unless asked otherwise.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from hil.plant.flight import Flight
from shared.signals import (
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_TEST,
    Signal,
    SignalSet,
)

RECORD: Final = np.dtype(
    [("t_ns", "<i8"), ("word", "<u4"), ("channel", "u1"), ("flags", "u1"), ("spare", "<u2")]
)
HEAD: Final = struct.Struct("<4sBBHII")
FILE_HEAD: Final = b"T429FILE\x01" + bytes(7)
WORDS_MAX: Final = 90  # of one datagram: 1,456 bytes, below an Ethernet frame
_SSM: Final = {
    "bnr": {STATUS_NORMAL: 3, STATUS_NO_DATA: 1, STATUS_FAILURE: 0, STATUS_TEST: 2},
    "bcd": {STATUS_NORMAL: 0, STATUS_NO_DATA: 1, STATUS_FAILURE: 1, STATUS_TEST: 2},
    "discrete": {STATUS_NORMAL: 0, STATUS_NO_DATA: 1, STATUS_FAILURE: 3, STATUS_TEST: 2},
}
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]


def make_words(signal: Signal, raw: Ints, status: npt.NDArray[np.uint8], sdi: int = 0) -> Ints:
    """Words that carry `raw` of one signal at its place, parity included."""
    wire = signal.arinc429
    assert wire is not None
    table = np.zeros(256, np.int64)
    for state, bits_30_31 in _SSM[wire.kind].items():
        table[state] = bits_30_31
    ssm = table[status]
    value: Ints = np.asarray(raw, np.int64)
    if wire.kind == "bcd":
        ssm = np.where((value < 0) & (status == STATUS_NORMAL), 3, ssm)
        digits = np.array([np.abs(value) // 10**k % 10 << (4 * k) for k in range(5)], np.int64)
        value = np.bitwise_or.reduce(digits)
    bits = wire.msb - wire.lsb + 1
    label = int(f"{int(signal.label, 8):08b}"[::-1], 2)
    sdi = int(signal.sdi, 2) if signal.sdi else sdi
    word: Ints = label | sdi << 8 | (value & ((1 << bits) - 1)) << (wire.lsb - 1) | ssm << 29
    return with_parity(word)


def with_parity(words: Ints) -> Ints:
    """Bit 32 set so that the number of ones is odd."""
    words = words & 0x7FFFFFFF
    ones = np.array([(words >> k) & 1 for k in range(31)]).sum(axis=0)
    odd: Ints = words | ((ones + 1) % 2) << 31
    return odd


def records(t_ns: Ints, words: Ints, channel: int | Ints) -> Records:
    """Words with their time and channel."""
    made = np.zeros(len(words), RECORD)
    made["t_ns"], made["word"], made["channel"] = t_ns, words, channel
    return made


def from_flight(flight: Flight, signals: SignalSet, channels: Mapping[str, int]) -> Records:
    """A flight as the words of its buses, in order of time. channels: `bus` -> number.

    Signals of one label are one word; a reading's words follow each other by 400 us, as at
    100 kbit/s with the gap of four bits.
    """
    parts = []
    for group in signals.groups:
        readings = flight.groups[group.name]
        sent: dict[tuple[int, int, int], int] = {}
        words: list[Ints] = []
        for position, signal in enumerate(group.signal):
            if signal.arinc429 is None or signal.bus not in channels:
                continue
            place = int((~group.is_f64[:position]).sum())
            word = make_words(signal, readings.raw[:, place], readings.status[:, position])
            key = channels[signal.bus], int(word[0] & 0xFF), int(word[0] >> 8 & 3)
            if key in sent:
                words[sent[key]] = with_parity(words[sent[key]] | word)
            else:
                sent[key] = len(words)
                words.append(word)
        for k, ((channel, _, _), word) in enumerate(zip(sent, words, strict=True)):
            parts.append(records(readings.t_ns + 400_000 * k, word, channel))
    every = np.concatenate(parts)
    return every[np.argsort(every["t_ns"], kind="stable")]


def datagrams(words: Records, sequence: int = 0, words_max: int = WORDS_MAX) -> Iterator[bytes]:
    """The datagrams that carry them."""
    for at in range(0, len(words), words_max):
        part = words[at : at + words_max]
        yield HEAD.pack(b"T429", 1, 0, len(part), sequence & 0xFFFFFFFF, 0) + part.tobytes()
        sequence += 1


class Sender:
    """A card that sends words by UDP."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sequence = 0

    def send(self, words: Records, words_max: int = WORDS_MAX) -> None:
        """Send words now."""
        for datagram in datagrams(words, self.sequence, words_max):
            self._socket.sendto(datagram, self._to)
            self.sequence += 1

    def close(self) -> None:
        self._socket.close()


def write_file(path: Path, words: Records) -> None:
    """A recording of words."""
    path.write_bytes(FILE_HEAD + words.tobytes())
