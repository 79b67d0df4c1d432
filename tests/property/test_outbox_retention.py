"""Retention: never an alert before bulk, safe before unsafe, every unsafe record named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.outbox.retention import Candidate, choose, drops
from shared.topics import CLASSES

# Bulk first, what tells what happened last, alerts last of all (DESIGN.md, what always holds, 6).
ORDER = ("block", "kpi", "report", "state", "audit", "manifest", "alert")

records = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.integers(1, 500), st.booleans(), st.booleans()),
    max_size=60,
)


def candidates(rows: list[tuple[str, int, bool, bool]]) -> list[Candidate]:
    counters: dict[str, int] = {}
    made = []
    for born, (cls, size, safe, old) in enumerate(rows):
        stream = cls if not old else f"{cls}-old"
        seq = counters[stream] = counters.get(stream, -1) + 1
        epoch = "e0" if old else "e1"
        made.append(Candidate(epoch, stream, seq, cls, born, size, b"%032d" % born, safe))
    return made


@given(records, st.integers(-10, 20_000), st.integers(1, 80))
def test_what_goes_went_in_order(
    rows: list[tuple[str, int, bool, bool]], bytes_over: int, count_max: int
) -> None:
    every = candidates(rows)
    gone = choose(every, bytes_over, count_max)
    kept = [c for c in every if c not in gone]
    assert len(gone) <= count_max
    assert not gone or sum(c.size for c in gone[:-1]) < bytes_over
    unsafe = [c for c in gone if not c.safe]
    assert all(c.cls != "drop" for c in unsafe)
    if unsafe:
        assert all(not c.safe for c in kept)
        worst = max(ORDER.index(c.cls) for c in unsafe)
        assert all(c.cls not in ORDER[:worst] for c in kept)
    for cls in CLASSES:
        births = [c.born for c in unsafe if c.cls == cls]
        assert all(c.born > max(births) for c in kept if c.cls == cls and births and not c.safe)
    enough = sum(c.size for c in gone) >= bytes_over
    assert enough or len(gone) == count_max or all(c.cls == "drop" and not c.safe for c in kept)


@given(records)
def test_every_unsafe_record_that_goes_is_named_with_its_hash(
    rows: list[tuple[str, int, bool, bool]],
) -> None:
    gone = choose(candidates(rows), 10**9, 10**9)
    named = {
        (drop.epoch or "e1", drop.stream, seq): digest
        for drop in drops(gone, "e1")
        for seq, digest in zip(range(drop.low, drop.high), drop.sha256, strict=True)
    }
    assert named == {(c.epoch, c.stream, c.seq): c.sha256 for c in gone if not c.safe}
