"""ARINC 717 frames for the bench and for tests: made, and written to files.

In: raw integers a signal, or a flight and a signal set. Out: subframes as arrays of 12-bit words,
files. Always holds: written apart from the edge's decoder, so that one checks the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from hil.plant.flight import Flight
from shared.signals import SignalSet
from shared.wiring import Arinc717

SYNC: Final = (0o1107, 0o2670, 0o5107, 0o6670)  # as the ARINC protocol summaries print them
Ints = npt.NDArray[np.int64]


def empty(subframes: int, words_per_s: int, filler: int = 0) -> Ints:
    """Subframes [n, words] that hold nothing but sync words, the first of a frame first."""
    made = np.full((subframes, words_per_s), filler, np.int64)
    made[:, 0] = np.resize(SYNC, subframes)
    return made


def held_in(wire: Arinc717, subframes: int) -> Ints:
    """Numbers of the subframes, from 0, that hold a signal; frame 1 of a superframe is the first."""
    number = np.arange(subframes)
    held = np.isin(number % 4 + 1, wire.subframes)
    if wire.frame:
        held &= number // 4 % 16 + 1 == wire.frame
    return number[held]


def place(frames: Ints, wire: Arinc717, raw: Ints) -> None:
    """Put raw values [held subframes, words of a subframe] where a signal has its place."""
    where = held_in(wire, len(frames))
    if wire.kind == "bcd":
        raw = np.array([raw // 10**k % 10 << 4 * k for k in range(8)]).sum(axis=0)
    for part in reversed(wire.low):
        _put(frames, where, part.word, part.lsb, part.msb, raw[:, 0])
        raw = raw >> part.msb - part.lsb + 1
    for k, word in enumerate(wire.words):
        _put(frames, where, word, wire.lsb, wire.msb, raw[:, k])


def _put(frames: Ints, where: Ints, word: int, lsb: int, msb: int, value: Ints) -> None:
    mask = (1 << msb - lsb + 1) - 1
    kept = frames[where, word - 1] & ~(mask << lsb - 1)
    frames[where, word - 1] = kept | (value & mask) << lsb - 1


def count_frames(frames: Ints, word: int, subframe: int = 1) -> None:
    """Write the frame counter of a superframe, 0 to 15, into bits 1 to 4 of a word."""
    number = np.arange(len(frames))
    says = number % 4 == subframe - 1
    frames[says, word - 1] = number[says] // 4 % 16


def from_flight(flight: Flight, signals: SignalSet, words_per_s: int) -> Ints:
    """A flight as a recorder would have sampled it: each word the newest reading before it."""
    frames = empty(int(flight.duration_s) // 4 * 4, words_per_s)
    for group in signals.groups:
        readings = flight.groups[group.name]
        for position, signal in enumerate(group.signal):
            wire = signal.arinc717
            if wire is None:
                continue
            column = readings.raw[:, int((~group.is_f64[:position]).sum())]
            words = (np.array(wire.words) - 1) / words_per_s
            at_s = held_in(wire, len(frames))[:, None] + words
            at_ns = flight.start_ns + np.rint(at_s * 1e9).astype(np.int64)
            index = np.searchsorted(readings.t_ns, at_ns, "right") - 1
            place(frames, wire, column[np.maximum(index, 0)])
    return frames


def unpacked(frames: Ints) -> bytes:
    """Each word in 16 bits, little endian."""
    return frames.astype("<u2").tobytes()


def packed(frames: Ints) -> bytes:
    """A stream of 12-bit words, the least significant bit first."""
    bits = frames.ravel()[:, None] >> np.arange(12) & 1
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()


def write_file(path: Path, frames: Ints, is_packed: bool = False) -> None:
    """A recording."""
    path.write_bytes(packed(frames) if is_packed else unpacked(frames))
