"""The recorder and the periods over a real outbox: journal, blocks, outages, manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.acquire.reading import Readings
from edge.config import Engine, Tail
from edge.flight.flights import FlightMachine
from edge.flight.phase import Confidence, PhaseState
from edge.outbox.store import Outbox
from edge.periods import PeriodKeeper
from edge.recorder import Recorder
from edge.thinning import bulk_groups
from shared.block import Block, decode_block
from shared.clock import ManualClock
from shared.envelope import Envelope, open_envelope
from shared.identity import Signer, verify
from shared.messages import MANIFEST_BYTES_MAX, Manifest, decode
from shared.phases import Phase
from shared.quality import Quality
from shared.signals import parse_signal_set
from tests.unit.edge.outbox.blocks import block as noisy_block
from tests.unit.edge.outbox.blocks import put_block

SET = b"""
name = "one"
version = 1
airframe = "T"
[[group]]
name = "air"
rate_hz = 10
block_s = 10
[[group.signal]]
name = "ALT"
unit = "[ft_i]"
"""
S = 1_000_000_000
TAIL = Tail(
    operator="OPX", tail="T-1", type="T", engines=(Engine(position=1, esn="E1", part_number="P"),)
)


class Rig:
    """An edge without a bus: outbox, recorder and periods on one folder; `boot` again after a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.signals = folder, parse_signal_set(SET, "one.toml")
        self.device = Signer.create(folder / "device.key")
        self.boot()

    def boot(self) -> None:
        self.outbox = Outbox.open(
            self.folder / "outbox.db", operator="OPX", tail="T-1", clock=ManualClock(),
            random=lambda n: hashlib.sha256(b"seed").digest()[:n], bytes_max=8 << 20,
        )  # fmt: skip
        self.recorder = Recorder(self.outbox, self.signals, journal_s=1.0)
        self.periods = PeriodKeeper(self.outbox, self.recorder, TAIL, self.device)

    def add(self, first: int, count: int, now_s: float) -> None:
        """Readings [first, first + count) of the bus, one value each equal to its counter."""
        counter = np.arange(first, first + count, dtype=np.int64)
        readings = Readings(
            self.signals.groups[0], counter, counter * S // 10, counter[:, None],
            np.zeros((count, 0)), np.zeros((count, 1), np.uint8),
        )  # fmt: skip
        self.recorder.add(readings, np.zeros((count, 1), np.uint8), round(now_s * S))

    def records(self, cls: str) -> list[Envelope]:
        held = self.outbox.pending(cls, {self.outbox.epoch}, {}, 1000)
        return [open_envelope(self.outbox.read(one) or b"") for one in held]

    def blocks(self) -> list[Block]:
        return [decode_block(envelope.payload) for envelope in self.records("block")]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.outbox.close()


def state(phase: Phase) -> PhaseState:
    return PhaseState(phase, Confidence.HIGH, phase is Phase.PARKED, False, False)


def test_a_block_is_sealed_at_its_length_and_holds_the_bus_exactly(rig: Rig) -> None:
    for second in range(11):
        rig.add(second * 10, 10, second)
        rig.recorder.journal(second * S)
        rig.recorder.seal_one()
    (block,) = rig.blocks()
    assert block.raw[:, 0].tolist() == list(range(110))
    assert block.counter.tolist() == list(range(110))
    assert rig.outbox.journal_entries() == []


@pytest.mark.parametrize("change", [(b"block_s = 10", b"block_s = 12"), (b'"air"', b'"wind"')])
def test_what_was_journalled_under_another_signal_set_is_sealed_under_that_set(
    rig: Rig, change: tuple[bytes, bytes]
) -> None:
    """A power cut, and then other software: the readings were acknowledged."""
    rig.add(0, 10, 0.0)
    rig.recorder.journal(1 * S)
    rig.outbox.close()
    before = rig.signals.sha256
    rig.signals = parse_signal_set(SET.replace(*change), "one.toml")
    rig.boot()
    assert rig.recorder.recover() == 10 and not rig.outbox.journal_entries()
    (block,) = rig.blocks()
    assert block.set_sha256 == before != rig.signals.sha256
    assert block.raw[:, 0].tolist() == list(range(10))
    rig.outbox.close()
    rig.boot()
    assert rig.recorder.recover() == 0


def test_a_kill_loses_only_what_was_not_journalled(rig: Rig) -> None:
    rig.add(0, 10, 0.0)
    rig.recorder.journal(1 * S)
    rig.add(10, 5, 1.4)  # not journalled yet when the power goes
    before = rig.periods.id
    rig.outbox.close()
    rig.boot()
    assert rig.recorder.recover() == 10
    assert rig.periods.id == before
    (block,) = rig.blocks()
    assert block.raw[:, 0].tolist() == list(range(10))
    rig.add(40, 10, 0.2)
    (outage,) = rig.recorder.tally.outages
    assert (outage.start_ns, outage.end_ns, outage.missing) == (9 * S // 10, 4 * S, 30)
    assert outage.cause == "recorder_down"


def test_nothing_is_journalled_twice_over_two_kills(rig: Rig) -> None:
    for attempt in range(3):
        rig.add(attempt * 10, 10, 0.0)
        rig.recorder.journal(1 * S)
        rig.outbox.close()
        rig.boot()
        assert rig.recorder.recover() == 10
    assert [block.raw[:, 0].tolist() for block in rig.blocks()] == [
        list(range(10)), list(range(10, 20)), list(range(20, 30)),
    ]  # fmt: skip
    assert rig.recorder.tally.outages == []


def test_a_bus_gap_is_named(rig: Rig) -> None:
    rig.add(0, 10, 0.0)
    rig.add(13, 7, 1.0)
    (outage,) = rig.recorder.tally.outages
    assert (outage.cause, outage.missing) == ("bus_gap", 3)


def test_a_restarted_bus_counter_is_no_gap_when_no_time_is_missing(rig: Rig) -> None:
    rig.add(50, 10, 0.0)
    counter = np.arange(0, 10, dtype=np.int64)
    readings = Readings(
        rig.signals.groups[0], counter, (counter + 60) * S // 10, counter[:, None],
        np.zeros((10, 0)), np.zeros((10, 1), np.uint8),
    )  # fmt: skip
    rig.recorder.add(readings, np.zeros((10, 1), np.uint8), S)
    assert rig.recorder.tally.outages == []


def test_a_clock_that_jumps_is_cut_into_blocks_also_inside_one_batch(rig: Rig) -> None:
    rig.add(100, 10, 0.0)
    rig.add(5, 10, 0.1)
    assert [block.n for block in rig.blocks()] == [10, 10]
    counter = np.arange(200, 210, dtype=np.int64)
    t_ns = counter * S // 10
    t_ns[5:] += 7200 * S
    readings = Readings(
        rig.signals.groups[0], counter, t_ns, counter[:, None], np.zeros((10, 0)), np.zeros((10, 1), np.uint8),
    )  # fmt: skip
    rig.recorder.add(readings, np.zeros((10, 1), np.uint8), S)
    rig.recorder.seal_all()
    assert [block.n for block in rig.blocks()] == [10, 10, 5, 5]


def test_the_manifest_counts_every_record_of_its_period_and_is_signed(rig: Rig) -> None:
    machine: FlightMachine = rig.periods.machine
    ground = rig.periods.id
    rig.add(0, 30, 0.0)
    machine.step(state(Phase.PARKED), 3 * S)
    transition = machine.step(state(Phase.TAXI_OUT), 3 * S)
    assert transition is not None
    rig.recorder.seal_all()
    rig.periods.close(transition, ["rom-1"])
    assert rig.periods.id.endswith("-F00001") and ground.endswith("-G00001")
    (envelope,) = rig.records("manifest")
    body = verify("manifest", envelope.payload, rig.device.public, "manifest")
    manifest = decode(Manifest, body, "manifest", MANIFEST_BYTES_MAX)
    assert manifest.flight == ground and manifest.esns == ["E1"]
    assert [(p.stream, p.low, p.high) for p in manifest.parts] == [
        ("audit", 0, 1),
        ("block-air", 0, 1),
    ]
    assert [(g.readings, g.t_first_ns, g.t_last_ns) for g in manifest.groups] == [
        (30, 0, 29 * S // 10)
    ]
    rig.add(30, 10, 3.0)
    rig.recorder.seal_all()
    last = rig.records("block")[-1]
    assert (last.flight, last.seq) == (rig.periods.id, 1)


def test_power_cut_at_the_stand_before_the_manifest_leaves_the_period_open(rig: Rig) -> None:
    machine = rig.periods.machine
    machine.step(state(Phase.PARKED), S)
    transition = machine.step(state(Phase.TAXI_OUT), S)
    assert transition is not None
    rig.periods.close(transition, [])
    flight = rig.periods.id
    rig.add(0, 10, 0.0)
    rig.recorder.journal(S)
    rig.periods.machine.step(state(Phase.PARKED), 2 * S)  # decided, but never committed
    rig.outbox.close()
    rig.boot()
    assert rig.periods.id == flight and rig.periods.machine.period.kind == "flight"


def test_a_new_epoch_is_another_part_of_the_same_period(rig: Rig) -> None:
    rig.add(0, 10, 0.0)
    rig.recorder.seal_all()
    old, period = rig.outbox.epoch, rig.periods.id
    rig.outbox._random = lambda n: b"\x07" * n
    rig.outbox.new_epoch()
    rig.periods.save_progress()
    rig.add(10, 10, 1.0)
    machine = rig.periods.machine
    machine.step(state(Phase.PARKED), 2 * S)
    transition = machine.step(state(Phase.TAXI_OUT), 2 * S)
    assert transition is not None
    rig.recorder.seal_all()
    manifest = rig.periods.close(transition, [])
    assert manifest.flight == period
    assert [(p.epoch, p.stream, p.low, p.high) for p in manifest.parts] == [
        (old, "block-air", 0, 1), (rig.outbox.epoch, "audit", 0, 1), (rig.outbox.epoch, "block-air", 0, 1),
    ]  # fmt: skip


def test_readings_wait_when_the_store_refuses_and_are_counted_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.errors import Unreachable

    def full(*_: object, **__: object) -> None:
        raise Unreachable("disk full", "outbox.db")

    rig.add(0, 10, 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(rig.outbox, "append", full)
        with pytest.raises(Unreachable):
            rig.recorder.seal_all()
    rig.recorder.seal_all()
    assert [block.n for block in rig.blocks()] == [10]
    assert rig.recorder.tally.groups["air"].readings == 10


def test_a_store_that_refuses_for_hours_costs_the_oldest_readings_by_name(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.block import ROW_COUNT_MAX
    from shared.errors import Unreachable

    def full(*_: object, **__: object) -> None:
        raise Unreachable("disk full", "outbox.db")

    step = ROW_COUNT_MAX // 8
    with monkeypatch.context() as patched:
        patched.setattr(rig.outbox, "append", full)
        for i in range(10):
            try:
                rig.add(i * step, step, 0.0)
            except Unreachable:
                continue
    rig.recorder.seal_all()
    blocks = rig.blocks()
    assert blocks[-1].counter[-1] == 10 * step - 1
    assert sum(block.n for block in blocks) < ROW_COUNT_MAX
    # nothing was sealed before, so nothing older is known to be missing; the manifest of a
    # period that had recorded before names the gap
    assert rig.recorder.tally.groups["air"].readings == sum(block.n for block in blocks)


def test_what_does_not_compress_is_sealed_in_pieces_that_every_link_can_carry(rig: Rig) -> None:
    noise = np.random.default_rng(3).integers(-(1 << 31), 1 << 31, (20_000, 1))
    counter = np.arange(20_000, dtype=np.int64)
    readings = Readings(
        rig.signals.groups[0], counter, counter * 1_000_000, noise, np.zeros((20_000, 0)),
        np.zeros((20_000, 1), np.uint8),
    )  # fmt: skip
    rig.recorder.add(readings, np.zeros((20_000, 1), np.uint8), 0)
    rig.recorder.journal(S)
    rig.outbox.close()
    rig.boot()
    assert rig.recorder.recover() == 20_000
    records = rig.records("block")
    assert max(len(record.payload) for record in records) <= 15_000
    assert np.concatenate([b.raw for b in rig.blocks()]).tolist() == noise.tolist()


def test_a_group_that_fell_silent_is_an_outage_of_the_period_that_ends(rig: Rig) -> None:
    rig.add(0, 10, 0.0)
    rig.recorder.note_silence(60 * S)
    (outage,) = rig.recorder.tally.outages
    assert (outage.start_ns, outage.end_ns, outage.missing) == (9 * S // 10, 60 * S, -1)
    rig.recorder.tally.outages.clear()
    rig.recorder.note_silence(2 * S)
    assert rig.recorder.tally.outages == []


def test_a_jump_that_meets_a_refusing_store_keeps_both_sides(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.errors import Unreachable

    def full(*_: object, **__: object) -> None:
        raise Unreachable("disk full", "outbox.db")

    rig.add(100, 10, 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(rig.outbox, "append", full)
        with pytest.raises(Unreachable):
            rig.add(5, 10, 0.1)
    rig.recorder.seal_all()
    assert [block.counter[0] for block in rig.blocks()] == [100, 5]


# -- thinned by the governor


def shed(rig: Rig) -> list[tuple[str, float, float, int]]:
    return [
        (o.group, (o.start_ns + 1) / S, (o.end_ns - 1) / S, o.missing)
        for o in rig.recorder.tally.outages
        if o.cause == "shed"
    ]


def test_thinned_bulk_keeps_every_nth_reading_however_the_bus_was_drained(rig: Rig) -> None:
    rig.recorder.thin(5)
    for first, count in ((0, 3), (3, 1), (4, 9), (13, 87)):
        rig.add(first, count, now_s=first / 10)
    rig.recorder.seal_all()
    assert np.concatenate([b.counter for b in rig.blocks()]).tolist() == list(range(0, 100, 5))


def test_what_was_left_out_is_one_outage_by_name_in_the_manifest(rig: Rig) -> None:
    rig.add(0, 20, now_s=0.0)
    rig.recorder.thin(2)
    for second in range(2, 10):
        rig.add(10 * second, 10, now_s=second)
    rig.recorder.thin(1)
    rig.add(100, 20, now_s=10.0)
    assert shed(rig) == [("air", 2.1, 9.9, 40)]
    assert not [o for o in rig.recorder.tally.outages if o.cause != "shed"]
    rig.recorder.journal(round(12 * S))
    rig.outbox.close()
    rig.boot()  # the tally is persisted with the journal
    assert shed(rig) == [("air", 2.1, 9.9, 40)]


def test_another_factor_is_another_outage(rig: Rig) -> None:
    rig.recorder.thin(2)
    rig.add(0, 10, now_s=0.0)
    rig.recorder.thin(5)
    rig.add(10, 10, now_s=1.0)
    assert shed(rig) == [("air", 0.1, 0.9, 5), ("air", 1.1, 1.9, 8)]


def test_a_jump_of_the_bus_counter_is_still_a_bus_gap_while_thinned(rig: Rig) -> None:
    rig.recorder.thin(2)
    rig.add(0, 10, now_s=0.0)
    rig.add(15, 10, now_s=1.5)
    gaps = [o for o in rig.recorder.tally.outages if o.cause == "bus_gap"]
    assert [(o.start_ns / S, o.end_ns / S, o.missing) for o in gaps] == [(0.9, 1.5, 5)]


def test_suspect_and_bad_readings_are_recorded_whatever_the_factor(rig: Rig) -> None:
    counter = np.arange(10, dtype=np.int64)
    quality = np.zeros((10, 1), np.uint8)
    quality[3], quality[7], quality[8] = Quality.SUSPECT, Quality.BAD, Quality.NO_DATA
    rig.recorder.thin(5)
    rig.recorder.add(
        Readings(rig.signals.groups[0], counter, counter * S // 10, counter[:, None],
                 np.zeros((10, 0)), np.zeros((10, 1), np.uint8)), quality, 0,
    )  # fmt: skip
    rig.recorder.seal_all()
    assert rig.blocks()[0].counter.tolist() == [0, 3, 5, 7]


def test_a_group_that_something_rests_on_is_never_thinned() -> None:
    text = (
        SET
        + b"""
[[group]]
name = "gate"
rate_hz = 5
signal = [{ name = "WOW", unit = "1", criticality = "gate" }, { name = "X", unit = "1" }]
[[group]]
name = "engine"
rate_hz = 5
signal = [{ name = "EGT", unit = "Cel", criticality = "monitor" }]
[[group]]
name = "ruled"
rate_hz = 5
signal = [{ name = "TEMP", unit = "Cel" }]
[[group]]
name = "role"
rate_hz = 5
signal = [{ name = "GS", unit = "[kn_i]" }]
[[exceedance]]
name = "hot"
fault_code = "1"
signal = "TEMP"
onset = 10.0
clear = 5.0
"""
    )
    text = text.replace(b'airframe = "T"\n', b'airframe = "T"\n[roles]\nground_speed_kt = "GS"\n')
    assert bulk_groups(parse_signal_set(text, "t")) == {"air"}


def test_a_manifest_counts_what_was_recorded_and_not_what_it_was_thinned_into(rig: Rig) -> None:
    put_block(rig.outbox, noisy_block("air", 10), flight=rig.periods.id)
    with rig.outbox.transaction():
        assert rig.outbox._books.thin(1) == 1
    machine = rig.periods.machine
    machine.step(state(Phase.PARKED), 2 * S)
    transition = machine.step(state(Phase.TAXI_OUT), 2 * S)
    assert transition is not None
    manifest = rig.periods.close(transition, [])
    assert [(p.stream, p.low, p.high) for p in manifest.parts if p.stream != "audit"] == [
        ("block-air", 0, 1), ("drop", 0, 1),
    ]  # fmt: skip
    (thinned,) = rig.records("block")
    assert (thinned.stream, thinned.flight) == ("thin2-air", manifest.flight)


def test_a_second_without_readings_writes_nothing(rig: Rig) -> None:
    rig.add(0, 10, 0.0)
    assert rig.recorder.journal(1 * S)
    before = rig.outbox._db.total_changes()
    for second in range(2, 6):
        assert rig.recorder.journal(second * S)
    assert rig.outbox._db.total_changes() == before
    rig.add(10, 10, 6.0)
    assert rig.recorder.journal(7 * S)
    assert rig.outbox._db.total_changes() == before + 1, "the entry, and no tally"


def test_a_block_that_is_due_waits_for_its_turn_but_not_for_ever(rig: Rig) -> None:
    for second in range(13):
        rig.add(second * 10, 10, second)
    assert rig.blocks() == []  # due at 10 s; other groups may be sealed before it
    rig.add(130, 10, 13.0)
    assert [block.n for block in rig.blocks()] == [140]  # nobody came for it within 3 s
    rig.recorder.seal_one()  # nothing is due any more
    assert len(rig.blocks()) == 1


def test_what_is_journalled_in_one_piece_is_what_came_in_many(rig: Rig) -> None:
    for reading in range(10):
        rig.add(reading, 1, reading / 10)
    assert rig.recorder.is_journal_due(S) and rig.recorder.journal(S)
    assert not rig.recorder.is_journal_due(S + 1) and not rig.recorder.journal(S + 1)
    rig.add(10, 1, 1.1)
    rig.outbox.close()
    rig.boot()
    assert rig.recorder.recover() == 10
    (block,) = rig.blocks()
    assert block.counter.tolist() == list(range(10)) == block.raw[:, 0].tolist()
