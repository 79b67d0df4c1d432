"""ARINC 717: what the bench writes the edge reads, whatever is cut out, flipped or put in between."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.acquire.framelayout import GroupLayout
from edge.acquire.framesync import FrameSync
from hil.bus import arinc717 as bus
from shared.signals import Group, Signal
from shared.wiring import Arinc717, LowBits

RATE = 64


def read(
    data: bytes, is_packed: bool, cuts: list[int]
) -> tuple[np.ndarray, np.ndarray, Counter[str]]:  # type: ignore[type-arg]
    refused: Counter[str] = Counter()
    sync = FrameSync(RATE, is_packed, refused)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [sync.push(data[a:b]) for a, b in itertools.pairwise(edges)]
    parts.append(sync.push(b"", is_last=True))
    return np.concatenate([n for n, _ in parts]), np.concatenate([w for _, w in parts]), refused


@settings(deadline=None, max_examples=60)
@given(st.booleans(), st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=3))
def test_any_bytes_are_borne(is_packed: bool, data: bytes, cuts: list[int]) -> None:
    numbers, words, _ = read(data, is_packed, cuts)
    assert words.shape == (len(numbers), RATE)


@settings(deadline=None, max_examples=100)
@given(
    st.booleans(), st.integers(4, 40), st.data(),
    st.lists(st.integers(0, 10_000), max_size=4), st.integers(0, 1 << 32),
)  # fmt: skip
def test_damage_never_puts_a_value_in_a_wrong_place(
    is_packed: bool, subframes: int, data: st.DataObject, cuts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = bus.empty(subframes, RATE)
    frames[:, 1:] = rng.integers(0, 4096, (subframes, RATE - 1))
    frames[:, 5] = np.arange(subframes)  # says where it belongs
    stream = bytearray(bus.packed(frames) if is_packed else bus.unpacked(frames))
    kind = data.draw(st.sampled_from(("cut", "noise", "flip", "none")))
    at = data.draw(st.integers(0, len(stream) - 1))
    length = data.draw(st.integers(1, 90))  # less than two subframes: more cannot be told
    if kind == "cut":
        del stream[at : at + length]
    elif kind == "noise":
        stream[at:at] = rng.bytes(length)
    elif kind == "flip":
        stream[at] ^= 1 << data.draw(st.integers(0, 7))
    numbers, words, refused = read(bytes(stream), is_packed, cuts)
    shift = 0 if not len(numbers) else int(words[-1, 5] - numbers[-1])  # a start that was lost
    assert (shift % 4 == 0 or kind == "flip") and len(set(numbers.tolist())) == len(numbers)
    assert np.all(np.diff(numbers) > 0)
    wrong = int((words[:, 5] != numbers + shift).sum())
    assert wrong <= (1 if kind == "flip" else 0)
    if kind == "none":
        assert np.array_equal(words, frames) and not refused


@settings(deadline=None)
@given(st.data())
def test_a_layout_gives_back_what_was_placed(data: st.DataObject) -> None:
    per_s = data.draw(st.sampled_from((1, 2, 4, 8)))
    slots = [
        data.draw(st.integers(k * RATE // per_s + 1, (k + 1) * RATE // per_s)) for k in range(per_s)
    ]
    words = tuple(max(2, word) for word in slots)
    lsb = data.draw(st.integers(1, 12))
    msb = data.draw(st.integers(lsb, 12))
    signed = data.draw(st.booleans())
    wire = Arinc717(words=words, lsb=lsb, msb=msb, signed=signed)
    signal = Signal(name="X", unit="1", arinc717=wire)
    layout = GroupLayout(0, Group(name="g", rate_hz=per_s, signal=(signal,)), RATE, False)
    frames = bus.empty(8, RATE, filler=0xFFF)
    low = -(1 << msb - lsb) if signed else 0
    high = (1 << msb - lsb) - 1 if signed else (1 << msb - lsb + 1) - 1
    raw = np.array([[data.draw(st.integers(low, high)) for _ in words] for _ in range(8)])
    bus.place(frames, wire, raw)
    out = layout.rows(np.arange(8), np.full(8, -1), frames, 0, True)
    assert out is not None and out.raw[:, 0].tolist() == raw.ravel().tolist()


@settings(deadline=None)
@given(st.data(), st.booleans())
def test_a_value_of_several_words_is_put_together(data: st.DataObject, signed: bool) -> None:
    low = []
    for word in data.draw(st.lists(st.integers(10, 20), max_size=2, unique=True)):
        lsb = data.draw(st.integers(1, 12))
        msb = data.draw(st.integers(lsb, min(12, lsb + 9)))
        low.append(LowBits(word=word, lsb=lsb, msb=msb))
    wire = Arinc717(words=(5,), lsb=1, msb=12, signed=signed, low=tuple(low))
    bits = 12 + sum(part.msb - part.lsb + 1 for part in low)
    most = 1 << bits - signed
    signal = Signal(name="X", unit="1", arinc717=wire)
    layout = GroupLayout(0, Group(name="g", rate_hz=1, signal=(signal,)), RATE, False)
    frames = bus.empty(6, RATE, filler=0xFFF)
    raw = np.array([[data.draw(st.integers(-most if signed else 0, most - 1))] for _ in range(6)])
    bus.place(frames, wire, raw)
    out = layout.rows(np.arange(6), np.full(6, -1), frames, 0, True)
    assert out is not None and out.raw[:, 0].tolist() == raw.ravel().tolist()
