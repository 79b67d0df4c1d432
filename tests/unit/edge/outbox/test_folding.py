"""Folding: drop records that nobody takes become few, name the same, and leave alerts their room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.outbox import books, store
from edge.outbox.retention import DROP_VERSION, FOLDED, SEVERAL, Candidate, fold
from edge.outbox.store import BYTES_MIN, DROP_SHARE, Outbox
from shared.errors import Unreachable
from shared.messages import Ack, Coverage, Drop, encode
from shared.sync.ranges import RangeSet
from tests.unit.edge.outbox.conftest import Open
from tests.unit.edge.outbox.test_thinning import drops, envelopes

BULK_BYTES = 25_000
Named = dict[tuple[str, str], RangeSet]


def put(outbox: Outbox, cls: str, size: int, stream: str | None = None) -> None:
    outbox.append(cls, os.urandom(size), stream=stream, schema="t/1", flight="f",
                  t_event_ns=1, t_quality=1)  # fmt: skip


def fly(outbox: Outbox, records: int, maintained: bool = True) -> int:
    """Bulk of five streams, an alert now and then; how many calls were refused."""
    outbox._db.execute("PRAGMA synchronous = off")  # nobody cuts the power here
    refused = 0
    for number in range(records):
        try:
            put(outbox, "kpi", BULK_BYTES, f"kpi-{number % 5}")
            if number % 20 == 0:
                put(outbox, "alert", 200)
        except Unreachable:
            refused += 1
        if maintained and number % 4 == 0:
            outbox.maintain()
    return refused


def named(outbox: Outbox) -> Named:
    found: Named = {}
    for envelope, drop in zip(envelopes(outbox, "drop"), drops(outbox), strict=True):
        stream = (drop.epoch or envelope.epoch, drop.stream)
        found.setdefault(stream, RangeSet()).add_range(drop.low, drop.high)
    return found


def unnamed(outbox: Outbox) -> list[tuple[str, int, int]]:
    """Records that are neither held, safe nor named."""
    said = named(outbox)
    return [
        (stream.name, low, high)
        for stream in outbox._streams.all.values()
        for low, high in stream.held.union(stream.safe)
        .union(said.get((stream.epoch, stream.name), RangeSet()))
        .missing(0, stream.next_seq)
    ]


def pile_up(outbox: Outbox, rounds: int) -> int:
    """Drop records as evictions of five streams make them, much faster; how many were refused."""
    outbox._db.execute("PRAGMA synchronous = off")
    refused, first = 0, sum(drop.reason == "pile" for drop in drops(outbox)) * 8
    for number in range(rounds):
        with suppress(Unreachable):
            put(outbox, "kpi", BULK_BYTES)
        try:
            with outbox.transaction():
                for run in range(50):
                    low = first + (number * 10 + run // 5) * 8
                    drop = Drop(1, f"other-{run % 5}", low, low + 8, [b"h" * 32] * 8, "pile")
                    outbox.append("drop", encode(drop), schema="drop/1", flight="",
                                  t_event_ns=1, t_quality=1)  # fmt: skip
        except Unreachable:
            refused += 1
        outbox.maintain()
        outbox.maintain()
    return refused


def test_drop_records_never_push_out_alerts_nor_stop_the_recorder(open_outbox: Open) -> None:
    outbox = open_outbox(BYTES_MIN)
    for _ in range(150):
        put(outbox, "alert", 200)
    assert pile_up(outbox, 80) == 0
    assert len(envelopes(outbox, "alert")) == 150
    assert len(envelopes(outbox, "kpi")) >= 15
    assert named(outbox)[outbox.epoch, "other-3"] == RangeSet([(0, 80 * 80)])
    assert not unnamed(outbox)


def test_they_take_no_more_than_their_share_of_a_store_that_nobody_empties(
    open_outbox: Open,
) -> None:
    outbox = open_outbox(BYTES_MIN)
    assert fly(outbox, 700) == 0
    assert len(envelopes(outbox, "alert")) == 35
    assert outbox._books.drop_bytes() <= outbox._room.share_bytes(DROP_SHARE) + 1024
    assert not unnamed(outbox)
    assert any(drop.stream == "drop" and drop.reason == FOLDED for drop in drops(outbox))
    assert all(drop.sha256 or drop.low + 1 < drop.high for drop in drops(outbox))


def test_appends_fold_where_nobody_maintains(
    open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "DROP_SHARE_MAX", 0.02)
    outbox = open_outbox(BYTES_MIN)
    assert fly(outbox, 300, maintained=False) == 0
    assert outbox._books.drop_bytes() <= outbox._room.share_bytes(0.02) + 1024
    assert not unnamed(outbox)


def test_a_store_that_an_older_program_left_full_of_drop_records_works_again(
    open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(books.Books, "fold", lambda *_: False)
        outbox = open_outbox(BYTES_MIN)
        assert pile_up(outbox, 60) > 20, "it is meant to be dead"
        with pytest.raises(Unreachable):
            put(outbox, "kpi", BULK_BYTES)
        outbox.close()
    outbox = open_outbox(BYTES_MIN)
    for _ in range(20):
        with suppress(Unreachable):
            put(outbox, "alert", 200)
        outbox.maintain()
    assert fly(outbox, 40) == 0
    assert len(envelopes(outbox, "alert")) >= 20
    assert not unnamed(outbox)


def test_it_is_the_same_after_a_restart(open_outbox: Open) -> None:
    outbox = open_outbox(BYTES_MIN)
    fly(outbox, 500)
    before = named(outbox), outbox._books.drop_bytes()
    outbox.close()
    outbox = open_outbox(BYTES_MIN)
    assert (named(outbox), outbox._books.drop_bytes()) == before


def test_drop_records_that_the_ground_has_are_folded_last(open_outbox: Open) -> None:
    outbox = open_outbox(BYTES_MIN)
    with outbox.transaction():
        for seq in range(300):
            drop = Drop(DROP_VERSION, "kpi", seq, seq + 1, [b"h" * 32], "outbox full")
            outbox.append("drop", encode(drop), schema="drop/1", flight="", t_event_ns=1,
                          t_quality=1)  # fmt: skip
    received = {"drop": Coverage(100)}
    outbox.apply_ack(Ack(1, "n1", outbox.epoch, "l", b"", received, {}, 1), answer=True)
    with outbox.transaction():
        assert outbox._books.fold(0)
    left = [held.seq for held in outbox.records()]
    assert left == [*range(100), *range(228, 302)]
    assert [(d.stream, d.low, d.high) for d in drops(outbox)[-2:]] == [
        ("kpi", 100, 228), ("drop", 100, 228),
    ]  # fmt: skip


def test_a_fold_that_gains_nothing_is_not_tried_at_each_append(
    open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = open_outbox(BYTES_MIN)
    with outbox.transaction():
        for seq in range(3):
            drop = Drop(DROP_VERSION, f"s-{seq}", 0, 1, [b"h" * 32], "outbox full")
            outbox.append("drop", encode(drop), schema="drop/1", flight="", t_event_ns=1,
                          t_quality=1)  # fmt: skip
        assert not outbox._books.fold(0)
        monkeypatch.setattr(books.Books, "_foldable", lambda *_: pytest.fail("tried again"))
        assert not outbox._books.fold(0)


def test_streams_beyond_the_first_look_are_found_by_a_longer_one(open_outbox: Open) -> None:
    outbox = open_outbox(BYTES_MIN)
    with outbox.transaction():
        for seq in range(600):  # each stream again after 150 others
            drop = Drop(
                DROP_VERSION, f"s-{seq % 150}", seq // 150, seq // 150 + 1, [b"h" * 32], "x"
            )
            outbox.append("drop", encode(drop), schema="drop/1", flight="", t_event_ns=1,
                          t_quality=1)  # fmt: skip
        tried = [outbox._books.fold(0) for _ in range(3)]
    assert tried[:2] == [False, True]
    assert {drop.reason for drop in drops(outbox)} == {"x", FOLDED}


runs = st.lists(
    st.tuples(st.sampled_from(["e0", "e1"]), st.sampled_from(["block-a", "thin2-a", "drop"]),
              st.integers(0, 40), st.integers(1, 9), st.sampled_from(["full", "thinned"])),
    max_size=30,
)  # fmt: skip


def sources(rows: list[tuple[str, str, int, int, str]]) -> Iterator[tuple[Candidate, Drop]]:
    for seq, (epoch, stream, low, size, reason) in enumerate(rows):
        drop = Drop(DROP_VERSION, stream, low, low + size, [b"h" * 32] * size, reason, epoch)
        yield Candidate("e1", "drop", 100 + seq, "drop", seq, 300, b"h" * 32, False), drop


def by_reason(pairs: list[tuple[str, Drop]]) -> dict[tuple[str, str, str], RangeSet]:
    found: dict[tuple[str, str, str], RangeSet] = {}
    for of, drop in pairs:
        key = (drop.epoch or of, drop.stream, drop.reason)
        found.setdefault(key, RangeSet()).add_range(drop.low, drop.high)
    return found


@given(runs)
def test_a_fold_names_what_was_named_for_the_same_reasons_and_itself(
    rows: list[tuple[str, str, int, int, str]],
) -> None:
    gone = list(sources(rows))
    expected = by_reason([(record.epoch, drop) for record, drop in gone])
    if gone:
        expected["e1", "drop", FOLDED] = RangeSet([(100, 100 + len(gone))])
    assert by_reason([("e1", drop) for drop in fold(gone, "e1")]) == expected


@given(runs, st.sets(st.integers(0, 60)))
def test_a_joined_fold_names_what_was_dropped_only_in_one_range_a_run(
    rows: list[tuple[str, str, int, int, str]], others: set[int]
) -> None:
    gone = list(sources(rows))
    every: Named = {}
    for record, drop in gone:
        every.setdefault((drop.epoch, drop.stream), RangeSet()).add_range(drop.low, drop.high)
        every.setdefault((record.epoch, record.stream), RangeSet()).add(record.seq)
    beside = RangeSet((n, n + 1) for n in others)
    found = fold(gone, "e1", lambda *_: beside)
    for stream, was in every.items():
        now = [d for d in found if (d.epoch or "e1", d.stream) == stream]
        ranges = RangeSet((d.low, d.high) for d in now)
        assert not [gap for low, high in was for gap in ranges.missing(low, high)]
        may = was.union(beside)
        assert not [gap for low, high in ranges for gap in may.missing(low, high)]
        assert len(now) == ranges.range_count <= may.range_count
        for drop in now:
            alone = {r for (e, s, r), rs in by_reason([("e1", d) for d in fold(gone, "e1")]).items()
                     if (e, s) == stream and rs.within(drop.low, drop.high)}  # fmt: skip
            assert drop.reason == SEVERAL or alone == {drop.reason}
    assert not [drop for drop in found if drop.sha256]
    assert store.DROP_SHARE < store.DROP_SHARE_MAX


def test_reasons_in_turns_are_joined_when_nothing_else_helps(open_outbox: Open) -> None:
    outbox = open_outbox(BYTES_MIN)
    with outbox.transaction():
        for seq in range(1100):
            drop = Drop(DROP_VERSION, "kpi", seq, seq + 1, [b"h" * 32], ("one", "other")[seq % 2])
            outbox.append("drop", encode(drop), schema="drop/1", flight="", t_event_ns=1,
                          t_quality=1)  # fmt: skip
        tried = [outbox._books.fold(0) for _ in range(4)]
    assert tried == [False, False, False, True]
    folded = [(d.stream, d.low, d.high, d.reason) for d in drops(outbox) if not d.sha256]
    assert folded == [("kpi", 0, 1024, SEVERAL), ("drop", 0, 1024, FOLDED)]
    assert not unnamed(outbox)
