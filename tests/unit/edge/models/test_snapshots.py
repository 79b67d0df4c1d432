"""Snapshots: what is kept around an alert, and what bounds it."""

from __future__ import annotations

import numpy as np

from edge.acquire.reading import Readings
from edge.models.snapshots import OPEN_MAX, READINGS_MAX, SnapshotKeeper
from shared.block import decode_block
from shared.messages import Alert, Snapshot
from shared.signals import parse_signal_set

SIGNALS = parse_signal_set(
    b"""
name = "s"
version = 1
airframe = "T"
[[group]]
name = "eng"
rate_hz = 10
signal = [{ name = "EGT", unit = "Cel" }, { name = "N1", unit = "%" }]
[[group]]
name = "air"
rate_hz = 10
signal = [{ name = "TAT", unit = "Cel" }]
[[group]]
name = "other"
rate_hz = 10
signal = [{ name = "X", unit = "1" }]
[[exceedance]]
name = "hot"
fault_code = "77"
signal = "EGT"
onset = 900
clear = 890
""",
    "s.toml",
)
NOISE = np.random.default_rng(3)


def keeper() -> SnapshotKeeper:
    kept = SnapshotKeeper(SIGNALS, 5.0, 3.0, period=lambda: "T-1-F00001")
    kept.watch(["TAT"])
    return kept


def give(kept: SnapshotKeeper, group: str, t_s: float, n: int = 10) -> None:
    g = SIGNALS.group(group)
    t_ns = round(t_s * 1e9) + np.arange(n) * 100_000_000
    raw = NOISE.integers(0, 1000, (n, len(g.signal)))
    status = np.zeros(raw.shape, np.uint8)
    kept.add(Readings(g, np.arange(n), t_ns, raw, np.zeros((n, 0)), status), status)


def alert(t_s: float, name: str = "hot", change: str = "onset") -> Alert:
    onset_ns = round(t_s * 1e9)
    return Alert(
        id=f"{name}-{onset_ns}", name=name, fault_code="77", change=change, severity="warning",  # type: ignore[arg-type]
        onset_ns=onset_ns, signal="EGT", value=910, threshold=900,
    )  # fmt: skip


def times_s(parts: list[Snapshot], group: str) -> list[float]:
    blocks = [decode_block(part.block) for part in parts if part.group == group]
    return [t / 1e9 for block in blocks for t in block.t_ns.tolist()]


def test_a_snapshot_holds_the_readings_before_and_after_its_alert_and_comes_when_they_are_over() -> (
    None
):
    kept = keeper()
    taken: list[Snapshot] = []
    for second in range(30):
        for group in ("eng", "air", "other"):
            give(kept, group, second)
        if second == 20:
            kept.note(alert(20.5), ["TAT"])
        taken += kept.step(round((second + 0.9) * 1e9))
        assert bool(taken) == (second >= 23)
    assert {part.alert for part in taken} == {"hot-20500000000"}
    assert {part.group for part in taken} == {"eng", "air"}
    for group in ("eng", "air"):
        found = times_s(taken, group)
        assert (found[0], found[-1], len(found)) == (15.5, 23.5, 81)


def test_a_clear_takes_none_and_an_instance_has_one_at_a_time() -> None:
    kept = keeper()
    give(kept, "eng", 0, 200)
    kept.note(alert(5, change="clear"))
    assert kept.flush() == []
    kept.note(alert(5))
    kept.note(alert(6))
    assert {part.alert for part in kept.flush()} == {"hot-5000000000"}
    assert kept.not_taken == 1


def test_a_storm_of_alerts_opens_a_bounded_number() -> None:
    kept = keeper()
    give(kept, "eng", 0, 200)
    for i in range(100):
        kept.note(alert(5, name=f"hot{i}"))
    assert len({part.alert for part in kept.flush()}) == OPEN_MAX
    assert kept.not_taken == 100 - OPEN_MAX


def test_a_group_that_fell_silent_does_not_hold_up_its_snapshot() -> None:
    kept = keeper()
    give(kept, "eng", 0, 60)
    kept.note(alert(5.5))
    assert kept.step(12_000_000_000) == []
    assert times_s(kept.step(19_000_000_000), "eng")[-1] == 5.9


def test_what_is_kept_is_bounded_and_a_big_snapshot_comes_in_parts_every_link_can_carry() -> None:
    kept = SnapshotKeeper(SIGNALS, 5000.0, 3.0, period=lambda: "T-1-F00001")
    for i in range(60):
        give(kept, "eng", i * 100, 1000)
    kept.note(alert(5950))
    parts = kept.flush()
    assert len(times_s(parts, "eng")) <= READINGS_MAX
    assert [part.part for part in parts] == list(range(len(parts))) and len(parts) > 1
    assert max(len(part.block) for part in parts) <= 15_000


def test_an_alert_without_a_known_signal_has_no_snapshot() -> None:
    kept = keeper()
    give(kept, "other", 0, 100)
    kept.note(Alert(
        id="w-1", name="w", fault_code="45", change="onset", severity="advisory", onset_ns=1,
        value=0, threshold=0,
    ))  # fmt: skip
    assert kept.flush() == []
