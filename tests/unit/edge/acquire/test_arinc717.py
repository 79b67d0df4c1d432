"""ARINC 717: sync found, lost and found again; words, subframes and superframes as rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge.acquire import arinc717
from edge.acquire.arinc717 import FrameFileSource
from edge.acquire.framelayout import FrameCounter
from edge.acquire.framesync import FrameSync
from edge.acquire.reading import Readings
from hil.bus import arinc717 as bus
from shared.errors import ConfigError, Unreachable
from shared.signals import STATUS_ABSENT, STATUS_FAILURE, SignalSet, parse_signal_set

S = 1_000_000_000
START = 1_700_000_000 * S
SET = b"""
name = "frames"
version = 1
airframe = "T"
[[group]]
name = "fast"
rate_hz = 4
signal = [
  { name = "G", unit = "[g]", arinc717 = { words = [2, 18, 34, 50], signed = true } },
  { name = "PITCH", unit = "deg", arinc717 = { words = [10, 42], lsb = 3, msb = 12, signed = true } },
]
[[group]]
name = "once"
rate_hz = 1
signal = [
  { name = "ALT", unit = "[ft_i]", arinc717 = { words = [5] } },
  { name = "WOW", unit = "1", encoding = "enum", enum = { air = 0, ground = 1 }, arinc717 = { words = [64], kind = "discrete", lsb = 12, msb = 12 } },
]
[[group]]
name = "frame"
rate_hz = 0.25
signal = [
  { name = "HOUR", unit = "h", arinc717 = { words = [7], subframes = [2], kind = "bcd", lsb = 5, msb = 12 } },
  { name = "FUEL", unit = "kg", arinc717 = { words = [7], subframes = [3] } },
]
[[group]]
name = "superframe"
rate_hz = 0.015625
signal = [{ name = "WEIGHT", unit = "kg", arinc717 = { words = [9], subframes = [4], frame = 3 } }]
"""  # noqa: E501
RATE = 64
COUNTER = FrameCounter(word=60)


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET, "frames.toml")


def fill(signals: SignalSet, frames: np.ndarray, name: str, first: int = 1) -> np.ndarray:  # type: ignore[type-arg]
    """Put 1, 2, 3 … into every place of a signal; what was put."""
    wire = signals.signal(name).arinc717
    assert wire is not None
    held = len(bus.held_in(wire, len(frames)))
    raw = first + np.arange(held * len(wire.words)).reshape(held, -1) % 90
    bus.place(frames, wire, raw)
    return raw.ravel()


def everything(source: FrameFileSource, step: int = 1000) -> dict[str, Readings]:
    source.open(1.0)
    while source.drain(step):
        pass
    found = {batch.group.name: batch for batch in source.pull()}
    source.close()
    return found


def played(
    tmp_path: Path, signals: SignalSet, data: bytes, step: int = 1000, is_packed: bool = False
) -> tuple[dict[str, Readings], Counter[str]]:
    path = tmp_path / "f.717"
    path.write_bytes(data)
    source = FrameFileSource(path, signals, RATE, START, is_packed, COUNTER)
    return everything(source, step), source.refused


def filled(signals: SignalSet, subframes: int = 128) -> np.ndarray:  # type: ignore[type-arg]
    frames = bus.empty(subframes, RATE)
    bus.count_frames(frames, COUNTER.word)
    for name in ("G", "PITCH", "ALT", "WOW", "HOUR", "FUEL", "WEIGHT"):
        fill(signals, frames, name)
    return frames


@pytest.mark.parametrize("is_packed", [False, True])
def test_every_sample_is_in_its_row(
    tmp_path: Path, signals: SignalSet, is_packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = filled(signals)
    data = bus.packed(frames) if is_packed else bus.unpacked(frames)
    monkeypatch.setattr(arinc717, "CHUNK_BYTES", 1000)
    found, refused = played(tmp_path, signals, data, 7, is_packed)
    assert not refused
    fast, once = found["fast"], found["once"]
    assert fast.raw[:, 0].tolist() == [1 + k % 90 for k in range(512)]
    assert fast.raw[0::2, 1].tolist() == [1 + k % 90 for k in range(256)]
    assert set(fast.status[1::2, 1].tolist()) == {STATUS_ABSENT}
    assert fast.t_ns.tolist() == [START + k * S // 4 for k in range(512)]
    assert once.raw[:, 0].tolist() == [1 + k % 90 for k in range(128)]
    assert once.raw[:, 1].tolist() == [(1 + k % 90) % 2 for k in range(128)]
    assert found["frame"].raw[:, 0].tolist() == list(range(1, 33))
    assert found["frame"].t_ns.tolist() == [START + 4 * k * S for k in range(32)]
    assert found["superframe"].raw[:, 0].tolist() == [1, 2]
    assert all(np.all(np.diff(batch.counter) == 1) for batch in found.values())


def test_words_are_in_the_order_of_the_public_tools() -> None:
    """Bit order by hand as FlightDataDecode's bitstream2aligned.py takes it: bit 0 of byte 0 is the
    least significant of word 1. 0x247, 0x123 -> 47 32 12."""
    assert bus.packed(np.array([[0x247, 0x123]])) == bytes.fromhex("473212")
    assert bus.unpacked(np.array([[0x247, 0x123]])) == bytes.fromhex("47022301")


def test_a_wrong_sync_word_costs_its_own_subframe(tmp_path: Path, signals: SignalSet) -> None:
    frames = filled(signals)
    frames[9, 0] ^= 1
    found, refused = played(tmp_path, signals, bus.unpacked(frames))
    assert refused == {"subframe": 1}
    assert found["once"].counter.tolist() == [*range(9), *range(10, 128)]
    frame = found["frame"]  # the second of its frame: HOUR was in it, FUEL was not
    assert frame.status[2].tolist() == [STATUS_ABSENT, 0] and len(frame.t_ns) == 32


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("cut", "lost"), [(slice(1000, 1001), 2), (slice(1000, 1100), 3), (slice(1001, 1151), 5)]
)
def test_lost_sync_is_found_again_and_time_goes_on(
    tmp_path: Path, signals: SignalSet, is_packed: bool, cut: slice, lost: int
) -> None:
    frames = filled(signals)
    data = bytearray(bus.packed(frames) if is_packed else bus.unpacked(frames))
    del data[cut]
    found, refused = played(tmp_path, signals, bytes(data), is_packed=is_packed)
    once = found["once"]
    assert refused["lost sync"] == 1 and 1 <= refused["subframe"] <= lost
    assert len(once.t_ns) + refused["subframe"] == 128
    assert np.array_equal(once.raw[:, 0], 1 + once.counter % 90)  # what is there is in its place
    assert once.counter[-1] == 127


def test_a_long_damage_costs_what_it_covers_and_time_goes_on(
    tmp_path: Path, signals: SignalSet
) -> None:
    data = bytearray(bus.unpacked(filled(signals)))
    data[20 * 128 : 31 * 128] = np.random.default_rng(2).bytes(11 * 128)
    found, refused = played(tmp_path, signals, bytes(data))
    assert refused == {"lost sync": 1, "subframe": 12}  # the one before may have been cut short
    once = found["once"]
    assert once.counter.tolist() == [*range(19), *range(31, 128)]
    assert np.array_equal(once.raw[:, 0], 1 + once.counter % 90)


def test_bits_that_slip_in_a_packed_recording_are_no_data(
    tmp_path: Path, signals: SignalSet
) -> None:
    frames = filled(signals)
    bits = np.unpackbits(np.frombuffer(bus.packed(frames), np.uint8), bitorder="little")
    bits = np.delete(bits, 20_003)
    data = np.packbits(bits, bitorder="little").tobytes()
    found, refused = played(tmp_path, signals, data, is_packed=True)
    assert refused["lost sync"] == 1
    once = found["once"]
    assert np.array_equal(once.raw[:, 0], 1 + once.counter % 90) and once.counter[-1] == 127


def test_what_comes_before_the_first_sync_is_left_out(tmp_path: Path, signals: SignalSet) -> None:
    frames = filled(signals)[2:]  # begins with subframe 3
    found, refused = played(tmp_path, signals, b"\xff" * 333 + bus.unpacked(frames))
    assert not refused
    assert found["once"].counter[0] == 2 and len(found["once"].t_ns) == 126


@pytest.mark.parametrize("noise", [b"?", b"??", b"????"])
def test_a_last_subframe_that_does_not_end_with_the_recording_is_not_believed(
    tmp_path: Path, signals: SignalSet, noise: bytes
) -> None:
    data = bytearray(bus.unpacked(filled(signals)))
    data[-100:-100] = noise
    found, refused = played(tmp_path, signals, bytes(data))
    assert found["once"].counter.tolist() == [*range(127)] and refused == {"subframe": 1}


def test_noise_has_no_subframes(tmp_path: Path, signals: SignalSet) -> None:
    noise = np.random.default_rng(1).bytes(300_000)
    for is_packed in (False, True):
        assert played(tmp_path, signals, noise, is_packed=is_packed) == ({}, {})


def test_a_bcd_digit_above_nine_is_a_failure(tmp_path: Path, signals: SignalSet) -> None:
    frames = filled(signals)
    frames[1, 6] = 0xAB0
    found, _ = played(tmp_path, signals, bus.unpacked(frames))
    assert found["frame"].status[:2, 0].tolist() == [STATUS_FAILURE, 0]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("rate_hz = 4", "rate_hz = 2", "two samples"), ("rate_hz = 4", "rate_hz = 8", "without any"),
        ("rate_hz = 0.25", "rate_hz = 0.3", "rate_hz"), ("words = [5]", "words = [65]", "no word"),
        ("words = [64]", "words = [1]", "expected"), ("lsb = 3, msb = 12", "lsb = 3, msb = 2", "above"),
    ],
)  # fmt: skip
def test_a_layout_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    def make() -> FrameFileSource:
        signals = parse_signal_set(SET.decode().replace(old, new).encode(), "t")
        return FrameFileSource(tmp_path / "f", signals, RATE, START, False, COUNTER)

    with pytest.raises(ConfigError) as found:
        make()
    assert what in str(found.value).lower()


def test_a_superframe_needs_a_counter(tmp_path: Path, signals: SignalSet) -> None:
    with pytest.raises(ConfigError, match="without a counter"):
        FrameFileSource(tmp_path / "f", signals, RATE, START)
    with pytest.raises(Unreachable):
        FrameFileSource(tmp_path / "none", signals, RATE, START, False, COUNTER).open(1.0)


@pytest.mark.parametrize("words_per_s", [64, 128, 256, 512, 1024])
def test_every_rate_is_followed_in_pieces_of_any_size(words_per_s: int) -> None:
    frames = bus.empty(20, words_per_s)
    for is_packed, data in ((False, bus.unpacked(frames)), (True, bus.packed(frames))):
        sync = FrameSync(words_per_s, is_packed, Counter())
        step = len(data) // 13
        parts = [sync.push(data[k : k + step]) for k in range(0, len(data), step)]
        parts.append(sync.push(b"", is_last=True))
        assert np.concatenate([numbers for numbers, _ in parts]).tolist() == list(range(20))
        assert np.array_equal(np.concatenate([words for _, words in parts]), frames)
