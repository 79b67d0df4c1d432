from ground.ingest.closure import GAPS_MAX, Holding, compare
from shared.messages import Manifest, Oooi, Outage, PartStream
from shared.sync.ranges import RangeSet


def manifest(*parts: PartStream, outages: tuple[Outage, ...] = ()) -> Manifest:
    return Manifest(1, "OPX", "T", "T-F1", "flight", 1, 0, 1, Oooi(), list(parts), [],
                    list(outages), [1], b"", [], [])  # fmt: skip


def test_nothing_recorded_and_nothing_missing_is_complete() -> None:
    assert compare(manifest(), {}).state == "complete"
    assert compare(manifest(PartStream("e", "s", 5, 5)), {}).state == "complete"


def test_a_stream_never_heard_of_is_missing_as_a_whole() -> None:
    found = compare(manifest(PartStream("e", "s", 5, 9)), {})
    assert (found.state, found.records, found.records_missing) == ("gaps", 0, 4)
    gap = found.gaps[0]
    assert (gap.epoch, gap.name, gap.low, gap.high) == ("e", "s", 5, 9)


def test_records_outside_the_parts_do_not_count() -> None:
    holding = {("e", "s"): Holding(RangeSet([(0, 100)]))}
    assert compare(manifest(PartStream("e", "s", 10, 20)), holding).records == 10


def test_the_same_stream_of_two_epochs_are_two() -> None:
    parts = (PartStream("e1", "s", 0, 3), PartStream("e2", "s", 0, 3))
    found = compare(manifest(*parts), {("e1", "s"): Holding(RangeSet([(0, 3)]))})
    assert [(gap.epoch, gap.low, gap.high) for gap in found.gaps] == [("e2", 0, 3)]


def test_parts_that_overlap_count_once() -> None:
    parts = (PartStream("e", "s", 0, 6), PartStream("e", "s", 4, 8))
    found = compare(manifest(*parts), {("e", "s"): Holding(RangeSet([(0, 8)]))})
    assert (found.state, found.records) == ("complete", 8)


def test_a_dropped_record_that_came_after_all_is_no_gap() -> None:
    holding = Holding(RangeSet([(0, 3)]), [(1, 5, "disk")])
    found = compare(manifest(PartStream("e", "s", 0, 5)), {("e", "s"): holding})
    assert [(gap.low, gap.high, gap.cause) for gap in found.gaps] == [(3, 5, "dropped: disk")]
    assert (found.records, found.records_missing) == (3, 0)


def test_gaps_without_end_are_bounded_and_the_counts_stay_exact() -> None:
    holding = Holding(RangeSet((2 * i, 2 * i + 1) for i in range(5000)))
    found = compare(manifest(PartStream("e", "s", 0, 10_000)), {("e", "s"): holding})
    assert len(found.gaps) == GAPS_MAX
    assert found.records_missing == 5000
    assert sum(gap.missing for gap in found.gaps) == 5000
    assert found.gaps[-1].cause == "4001 further gaps"
