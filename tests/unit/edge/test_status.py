"""What `tailtwin-edge status` says, of a fresh status, a stale one and none; and where the data is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.backlog import Backlog, BacklogMeter, Waiting
from edge.commands.status import STALE_S, age_of, duration, lines, size
from edge.governing import GovernorStatus
from edge.health import Status, StatusFile
from edge.outbox.store import Outbox
from shared.clock import ManualClock

S = 1_000_000_000
T = 1_700_000_000 * S


def status(**changes: object) -> Status:
    fields: dict[str, object] = {
        "wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), "pid": 42, "tail": "B737-1",
        "epoch": "e1", "boot": 7, "flight": "B737-1-F12", "phase": "cruise", "confidence": "high",
        "t_event_ns": T, "gate_open": False, "gate_reasons": ["phase is cruise, not parked"],
        "link": "air", "messages": 9, "messages_per_s": 1012.0, "samples": 99, "refused": {"length": 3},
        "bus_open": True, "overruns": 0, "tick_ms_max": 3.25, "outbox_records": 3,
        "outbox_bytes": 4_000_000, "unsafe_records": 3, "oldest_unsafe_event_ns": T - 90 * S,
        "bytes_up": 5, "alerts": ["egt_high-894101"], "worker": "running", "slot": "a",
        "bundles": ["egt_rom-1.0.0-0123456789ab"], "updates_pending": [],
        "outbox_bytes_max": 500_000_000,
        "governor": GovernorStatus(
            measured={"cpu": 6.0, "memory": 128.0}, peak={"cpu": 9.0, "memory": 140.0},
            budget={"cpu": 15.0, "memory": 256.0}, shed=["models"], level=1,
        ),
        "backlog": Backlog(
            unsafe={"alert": Waiting(records=1, bytes=300, oldest_event_ns=T - 2 * S),
                    "block": Waiting(records=200, bytes=2_000_000, oldest_event_ns=T - 90 * S)},
            bytes_left=2_000_300, appended_bytes_per_s=1000.0, link_bytes_per_s=3000.0,
            hours_left=138.3, seconds_to_safe=1000.2,
        ),
    }  # fmt: skip
    return Status(**fields | changes)  # type: ignore[arg-type]


def text(one: Status, age_s: float = 0.3) -> str:
    return "\n".join(lines(one, age_s))


def test_the_table_says_phase_gate_with_reasons_link_budget_and_models() -> None:
    said = text(status())
    for part in ("cruise (high confidence)", "- phase is cruise, not parked", "air, 3.0 kB/s up",
                 "1,012 messages/s", "3 refused", "6.0 % of one core (of 15, 40%; peak 9.0)",
                 "128.0 MB (of 256, 50%; peak 140.0)", "level 1: models", "egt_high-894101",
                 "egt_rom-1.0.0-0123456789ab"):  # fmt: skip
        assert part in said, part


def test_where_is_my_data_names_the_oldest_what_is_left_when_and_what_room() -> None:
    said = text(status()).partition("WHERE IS MY DATA")[2]
    for part in ("201 records, 2.0 MB", "alert             1 records      300 B", "90 s old, class block",
                 "about 17 min", "4.0 MB of 500.0 MB", "138 h at 1.0 kB/s"):  # fmt: skip
        assert part in said, part


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backlog": Backlog()}, "all safe in     now"),
        ({"link": "none", "link_why": "air: refused"}, "not known: there is no link"),
        ({"backlog": Backlog(unsafe={"kpi": Waiting(records=1, bytes=9, oldest_event_ns=0)})},
         "the link is not faster than what is recorded"),
    ],
)  # fmt: skip
def test_an_expected_time_is_said_only_where_it_can_be_known(
    changes: dict[str, object], expected: str
) -> None:
    assert expected in text(status(**changes))


def test_late_tasks_and_an_exhausted_governor_are_not_overlooked() -> None:
    said = text(status(
        late={"link": 71.2}, bus_open=False,
        governor=GovernorStatus(measured={"memory": 300.0}, budget={"memory": 256.0}, is_exhausted=True),
    ))  # fmt: skip
    assert "link: no heartbeat for 71 s" in said
    assert "OVER BUDGET" in said
    assert "NOT ALL OPEN" in said


def test_a_fresh_status_exits_with_0_and_a_stale_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["status", "--state", str(tmp_path)]
    assert main(command) == 69
    assert "no status" in capsys.readouterr().err
    StatusFile(tmp_path / "status.json").write(status())
    assert main(command) == 0
    assert "STALE" not in capsys.readouterr().out
    old = status(wall_ns=time.time_ns() - 60 * S, mono_ns=time.monotonic_ns() - 60 * S)
    StatusFile(tmp_path / "status.json").write(old)
    assert main(command) == 69
    assert "STALE: the edge does not run, or hangs; this is how it was 60 s ago" in (
        capsys.readouterr().out
    )
    assert main([*command, "--json"]) == 69
    answer = json.loads(capsys.readouterr().out)
    assert answer["is_running"] is False and answer["backlog"]["unsafe"]["block"]["records"] == 200


def test_garbage_instead_of_a_status_is_no_status(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(os.urandom(64))
    assert main(["status", "--state", str(tmp_path)]) == 69


@pytest.mark.parametrize(
    ("wall_s", "mono_s", "fresh"),
    [(1, 1, True), (60, 60, False), (-3600, 0.4, True), (86_400, 1, False), (2, -500, False)],
    ids=["now", "old", "clock set back", "another boot that lasts as long", "another boot"],
)
def test_the_age_is_never_too_small(wall_s: float, mono_s: float, fresh: bool) -> None:
    one = status(wall_ns=0, mono_ns=0)
    assert (age_of(one, round(wall_s * S), round(mono_s * S)) <= STALE_S) is fresh


def test_numbers_for_people() -> None:
    assert [size(x) for x in (999, 1000, 2.5e6, 3e9)] == ["999 B", "1.0 kB", "2.5 MB", "3.00 GB"]
    assert [duration(x) for x in (5, 600, 36_000, 864_000)] == [
        "5 s",
        "10 min",
        "10.0 h",
        "10.0 days",
    ]


# -- where the figures come from


def test_rates_room_and_expected_time_by_hand() -> None:
    meter = BacklogMeter(bytes_max=1_000_000)
    left = {"block": Waiting(records=10, bytes=100_000, oldest_event_ns=T)}
    assert meter.look(0.0, left, 0, 0).link_bytes_per_s is None
    now = meter.look(10.0, left, 1_000, 5_000)
    assert (now.appended_bytes_per_s, now.link_bytes_per_s) == (100.0, 500.0)
    assert now.hours_left == round(900_000 / 100 / 3600, 1)
    assert now.seconds_to_safe == 100_000 / (500 - 100)
    slow = meter.look(40.0, left, 40_000, 5_000)  # 30 s in which the link took nothing
    assert (slow.link_bytes_per_s, slow.seconds_to_safe) == (0.0, None)
    assert slow.appended_bytes_per_s == 1000.0


def test_the_outbox_weighs_what_the_ground_has_still_to_get(tmp_path: Path) -> None:
    with Outbox.open(
        tmp_path / "o.db", operator="OPX", tail="T-1", clock=ManualClock(), random=os.urandom,
        bytes_max=8 << 20,
    ) as outbox:  # fmt: skip
        refs = [
            outbox.append(cls, b"x" * n, schema="s/1", flight="f", t_event_ns=t, t_quality=0)
            for cls, n, t in (("alert", 10, 5 * S), ("kpi", 500, 0), ("alert", 20, 3 * S))
        ]
        found = outbox.unsafe_by_class()
        assert found["alert"] == (2, refs[0].bytes + refs[2].bytes, 3 * S)
        assert found["kpi"] == (1, refs[1].bytes, 0)
        assert found["block"] == (0, 0, 0)
        assert outbox.bytes_appended == sum(ref.bytes for ref in refs)
