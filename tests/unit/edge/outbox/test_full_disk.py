"""A disk that is full while recording, at boot, and with room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from edge.outbox.reserve import Reserve
from edge.outbox.store import KV_BYTES_MAX, Outbox
from shared.clock import ManualClock
from shared.envelope import PAYLOAD_BYTES_MAX
from shared.errors import Rejected, Unreachable
from shared.messages import Ack, Coverage
from tests.unit.edge.outbox.conftest import Open

DISK_BYTES = 6 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def open_on(disk: Path) -> Outbox:
    return Outbox.open(
        disk / "outbox.db", operator="op", tail="n1", clock=ManualClock(), random=os.urandom,
        bytes_max=256 << 20,
    )  # fmt: skip


def put(outbox: Outbox, size: int = 3000, cls: str = "kpi") -> int:
    return outbox.append(
        cls, os.urandom(size), schema="t/1", flight="f", t_event_ns=1, t_quality=0
    ).seq


def fill(disk: Path) -> Path:
    """Somebody else takes all that is left."""
    other = disk / "other"
    with other.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return other


def test_a_store_that_fills_the_disk_goes_on_inside_what_it_has(disk: Path) -> None:
    with open_on(disk) as outbox:
        refused = []
        for number in range(3000):
            try:
                put(outbox)
            except Unreachable:
                refused.append(number)
            if number % 50 == 0:
                outbox.maintain()
        assert len(refused) <= 20 and outbox.stats().evicted_unsafe > 1000
        assert outbox.stats().records > 300


def test_a_disk_that_somebody_else_fills_stops_appends_and_lets_go_again(disk: Path) -> None:
    with open_on(disk) as outbox:
        for _ in range(300):
            put(outbox)
        other = fill(disk)
        last = 300
        for _ in range(300):  # the reserve and the WAL carry it: old records make room for new
            with suppress(Unreachable):
                last = put(outbox)
        assert last > 500
        outbox.maintain()
        other.unlink()
        outbox.maintain()
        before = outbox.stats().records
        for _ in range(300):
            put(outbox)
        assert outbox.stats().records >= before + 200


def test_it_opens_on_a_full_disk_to_read_and_send_and_appends_once_there_is_room(
    disk: Path,
) -> None:
    outbox = open_on(disk)
    for _ in range(300):
        put(outbox)
    outbox.close()
    for path in disk.glob("outbox.db-*"):
        path.unlink()
    other = fill(disk)
    outbox = open_on(disk)
    with outbox:
        assert "full" in outbox.opened.full and outbox.boot == 2
        waiting = outbox.pending("kpi", [outbox.epoch], {}, 10)
        assert len(waiting) == 10 and outbox.read(waiting[0])
        with pytest.raises(Unreachable, match="full"):
            put(outbox)
        told = Ack(1, "n1", outbox.epoch, "l", b"", {"kpi": Coverage(9)}, {"kpi": Coverage(9)}, 0)
        assert outbox.apply_ack(told, answer=True).safe == 9
        assert outbox.stats().depth["kpi"] == 291
        outbox.maintain()
        other.unlink()
        outbox.maintain()
        assert put(outbox) == 300
    again = open_on(disk)
    assert (again.boot, again.opened.full) == (3, "")
    again.close()


def test_a_boot_row_that_cannot_be_written_comes_with_the_first_transaction_that_can(
    open_outbox: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_outbox().close()
    wanted = [apsw.FullError("disk"), apsw.FullError("disk")]
    write = Outbox._put_boot

    def refuse(outbox: Outbox) -> None:
        if wanted:
            raise wanted.pop()
        write(outbox)

    monkeypatch.setattr(Outbox, "_put_boot", refuse)
    outbox = open_outbox()
    assert outbox.opened.full and outbox.boot == 2
    with pytest.raises(Unreachable):
        put(outbox)
    put(outbox)
    outbox.close()
    assert open_outbox().boot == 3


def test_a_new_store_on_a_full_disk_is_unreachable(disk: Path) -> None:
    fill(disk)
    with pytest.raises(Unreachable):
        open_on(disk)


def test_what_is_over_its_cap_is_rejected_and_leaves_no_trace(open_outbox: Open) -> None:
    outbox = open_outbox()
    with pytest.raises(Rejected, match="over the cap"):
        outbox.put("alerts", bytes(KV_BYTES_MAX + 1))
    with pytest.raises(Rejected, match="over the cap"):
        put(outbox, PAYLOAD_BYTES_MAX + 1)
    with pytest.raises(Rejected, match="over the cap"):
        outbox.journal("air", bytes((1 << 20) + 1), 1)
    assert outbox.next_seqs() == {} and put(outbox) == 0


def test_a_reserve_is_made_only_where_there_is_room(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 4096)
    assert reserve.hold() and reserve.hold() and reserve.held_bytes == 4096
    reserve.give_up()
    reserve.give_up()
    assert reserve.held_bytes == 0
    assert not Reserve(tmp_path / "huge", 1 << 50).hold()
    assert not (tmp_path / "huge").exists()
    assert not Reserve(tmp_path / "missing" / "reserve", 4096).hold()
