"""Thinning: less of everything before nothing of something, and every step by name."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge.outbox import thinning
from edge.outbox.store import THIN_RECORDS, Outbox
from shared.block import Block, decode_block, encode_block
from shared.envelope import Envelope, open_envelope
from shared.errors import Corrupt
from shared.messages import Ack, Coverage, Drop, decode
from tests.unit.edge.outbox.blocks import block, put_block
from tests.unit.edge.outbox.conftest import Open

SMALL = 2 << 20


def envelopes(outbox: Outbox, cls: str) -> list[Envelope]:
    waiting = outbox.pending(cls, list(outbox.positions()), {}, 10_000)
    return [open_envelope(outbox.read(held) or b"") for held in waiting]


def blocks(outbox: Outbox) -> list[tuple[str, Block]]:
    return [(e.stream, decode_block(e.payload)) for e in envelopes(outbox, "block")]


def drops(outbox: Outbox) -> list[Drop]:
    return [decode(Drop, e.payload, "drop", 1 << 20) for e in envelopes(outbox, "drop")]


def fill(outbox: Outbox, numbers: range, *groups: tuple[str, int]) -> None:
    """Blocks of each group, with as many `maintain`s as a daemon has at one every 2 s."""
    for number in numbers:
        with outbox.transaction():  # one sync
            for group, hz in groups:
                put_block(outbox, block(group, hz, number))
        for _ in range(10):
            outbox.maintain()


def test_every_second_reading_is_kept_exactly_and_blocks_join_evenly() -> None:
    first, second = block("air", 5, 0, seconds=3), block("air", 5, 1, seconds=3)  # 15 each
    thin = [thinning.thin(b, ("e", "block-air", at)) for at, b in enumerate((first, second))]
    counters = np.concatenate([b.counter for b in thin])
    assert counters.tolist() == list(range(0, 30, 2))
    assert (thin[0].raw == first.raw[::2]).all()
    again = [thinning.thin(b, ("e", "thin2-air", at)) for at, b in enumerate(thin)]
    assert np.concatenate([b.counter for b in again]).tolist() == list(range(0, 30, 4))
    assert again[0].keep_every == 4
    assert again[0].replaces == (("e", "block-air", 0), ("e", "thin2-air", 0))
    assert decode_block(encode_block(again[0])).replaces == again[0].replaces


def test_a_reading_at_which_a_flag_changes_is_kept_unless_a_signal_flaps() -> None:
    quiet = block("air", 10)
    quiet.status[101:103] = 1
    assert {101, 103} <= set(thinning.thin(quiet, ("e", "block-air", 0)).counter.tolist())
    flapping = block("air", 10)
    flapping.quality[::2] = 1
    assert thinning.thin(flapping, ("e", "block-air", 0)).n == flapping.n // 2


def test_a_bus_that_does_not_count_by_ones_is_thinned_all_the_same() -> None:
    odd = block("air", 10)
    odd = replace(odd, counter=odd.counter * 4 + 1)
    assert thinning.thin(odd, ("e", "block-air", 0)).n == odd.n // 2
    one = odd.rows(0, 1)
    assert thinning.thin(one, ("e", "block-air", 0)).n == 1


def test_steps_have_streams_of_their_own_and_end() -> None:
    names = ["block-eng1"]
    while (name := thinning.next_stream(names[-1])) is not None:
        names.append(name)
    assert names == ["block-eng1", "thin2-eng1", "thin4-eng1", "thin8-eng1"]
    assert [thinning.keep_every(name) for name in names] == [1, 2, 4, 8]
    assert [thinning.is_thinned(name) for name in names] == [False, True, True, True]
    assert thinning.next_stream("kpi") is None and not thinning.is_thinned("alert")


def test_the_highest_rate_is_halved_first_and_no_block_is_lost(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    fill(outbox, range(150), ("fast", 50), ("slow", 4), ("one", 1))
    kept = blocks(outbox)
    of = {group: [b for _, b in kept if b.group == group] for group in ("fast", "slow", "one")}
    assert all(len(of[group]) == 150 for group in of)
    assert outbox.stats().evicted_unsafe == 0 and outbox.stats().thinned > 60
    assert {b.keep_every for b in of["slow"]} == {b.keep_every for b in of["one"]} == {1}
    assert max(b.keep_every for b in of["fast"]) >= 4
    spans = {tuple(b.t_ns[[0, -1]] // 10**9) for b in of["fast"]}
    assert len(spans) == 150


def test_whole_blocks_go_once_nothing_can_be_thinned_and_one_hertz_never_is(
    open_outbox: Open,
) -> None:
    outbox = open_outbox(bytes_max=1 << 20)
    fill(outbox, range(120), ("fast", 16), ("low", 2), ("one", 1))
    for _ in range(120):  # what matters more than any block
        outbox.append("kpi", bytes(4000), schema="t/1", flight="f", t_event_ns=1, t_quality=1)
        outbox.maintain()
    assert outbox.stats().depth["kpi"] == 120
    counts = {
        group: [b.keep_every for _, b in blocks(outbox) if b.group == group]
        for group in ("fast", "low", "one")
    }
    assert set(counts["one"]) == {1} and 2 in counts["low"] and 8 in counts["fast"]
    assert outbox.stats().evicted_unsafe > 0
    assert {drop.reason for drop in drops(outbox)} >= {"outbox full"}


def test_every_replaced_record_is_named_by_its_successor_and_by_a_drop_record(
    open_outbox: Open,
) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    fill(outbox, range(180), ("fast", 50))
    made = outbox.next_seqs()
    dropped = {
        (drop.stream, seq): drop.reason
        for drop in drops(outbox)
        for seq in range(drop.low, drop.high)
    }
    held = {(e.stream, e.seq) for e in envelopes(outbox, "block")}
    for stream in ("block-fast", "thin2-fast", "thin4-fast"):
        assert {s for s in range(made[stream]) if (stream, s) not in held} == {
            seq for name, seq in dropped if name == stream
        }
    assert dropped["block-fast", 0] == "thinned to 1 of 2 readings"
    assert dropped["thin2-fast", 0] == "thinned to 1 of 4 readings"
    roots = set()
    for _, thinned in blocks(outbox):
        assert {(s, seq) for _, s, seq in thinned.replaces} <= dropped.keys()
        roots |= {seq for _, s, seq in thinned.replaces if s == "block-fast"}
    assert roots == {seq for name, seq in dropped if name == "block-fast"}


def test_safe_records_go_before_anything_is_thinned(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    for number in range(200):
        put_block(outbox, block("fast", 50, number))
        told = Coverage(number)
        ack = Ack(1, "n1", outbox.epoch, "l", b"", {"block-fast": told}, {"block-fast": told}, 0)
        outbox.apply_ack(ack, answer=False)
        outbox.maintain()
    assert outbox.stats().thinned == 0 and drops(outbox) == []


def test_what_the_ground_received_is_not_thinned(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    for number in range(200):
        put_block(outbox, block("fast", 50, number))
        told = {"block-fast": Coverage(number + 1)}
        outbox.apply_ack(Ack(1, "n1", outbox.epoch, "l", b"", told, {}, 0), answer=False)
        outbox.maintain()
    assert outbox.stats().thinned == 0
    assert {drop.reason for drop in drops(outbox)} == {"outbox full"}


def test_old_blocks_are_sent_and_evicted_in_their_own_turn(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    fill(outbox, range(150), ("fast", 50))
    starts = [int(b.t_ns[0]) for _, b in blocks(outbox)]
    assert starts[:20] == sorted(starts[:20])
    assert starts[0] == 0


def test_one_call_does_a_bounded_number(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    number = 0
    while not outbox.stats().thinned:
        put_block(outbox, block("fast", 50, number))
        number += 1
        outbox.maintain()
    assert outbox.stats().thinned <= THIN_RECORDS
    assert outbox.stats().evicted_unsafe == 0


def test_a_block_that_this_program_cannot_read_is_left_as_it_is(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    for _ in range(250):
        outbox.append(
            "block", bytes(8000), stream="block-new", schema="block/9", flight="f",
            t_event_ns=1, t_quality=1,
        )  # fmt: skip
        outbox.maintain()
    assert outbox.stats().thinned == 0 and outbox.stats().evicted_unsafe > 0


def test_the_period_and_time_of_a_record_stay_with_it(open_outbox: Open) -> None:
    outbox = open_outbox(bytes_max=SMALL)
    put_block(outbox, block("fast", 50, 0), flight="f-first")
    fill(outbox, range(1, 150), ("fast", 50))
    first = envelopes(outbox, "block")[0]
    assert first.stream.startswith("thin") and first.flight == "f-first"
    assert first.t_event_ns == 0


def with_header(data: bytes, header: list[object]) -> bytes:
    """The block with another header and a CRC that fits."""
    length = struct.unpack("<I", data[4:8])[0]
    head = msgspec.msgpack.encode(header)
    body = b"".join((data[:4], struct.pack("<I", len(head)), head, data[8 + length : -4]))
    return body + struct.pack("<I", zlib.crc32(body))


def header_of(data: bytes) -> list[object]:
    length = struct.unpack("<I", data[4:8])[0]
    return msgspec.msgpack.decode(data[8 : 8 + length], type=list[object])


def test_a_block_of_a_program_that_knew_no_thinning_is_read_as_it_was() -> None:
    made = block("air", 5)
    data = encode_block(made)
    old = decode_block(with_header(data, header_of(data)[:-3]))
    assert (old.keep_every, old.replaces) == (1, ())
    assert (old.raw == made.raw).all() and (old.counter == made.counter).all()


@pytest.mark.parametrize(
    "last",
    [
        [1, 0, []], [1, 1 << 40, []], [1, 2, [["e", "block-air", 1]] * 9],
        [1, 2, [["e", "../x", 1]]], [1, 2, [["e", "block-air", -1]]], [1, 2, [["e", 1]]],
        [(1 << 64) - 1, 2, []],
    ],
)  # fmt: skip
def test_a_header_that_replaces_what_is_no_record_is_refused(last: list[object]) -> None:
    data = encode_block(block("air", 5))
    with pytest.raises(Corrupt):
        decode_block(with_header(data, [*header_of(data)[:-3], *last]))


def test_a_block_of_one_reading_does_not_keep_its_stream_from_being_thinned(
    open_outbox: Open,
) -> None:
    """As a jump of time leaves it: it has no rate."""
    outbox = open_outbox(bytes_max=SMALL)
    put_block(outbox, block("fast", 50, 0).rows(0, 1))
    fill(outbox, range(1, 120), ("fast", 50))
    assert outbox.stats().thinned and not outbox.stats().evicted_unsafe
