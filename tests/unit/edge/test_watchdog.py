"""Hearts, watchdog and the notification socket: a real unix socket, a task that hangs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.notify import TEXT_CHARS_MAX, Notifier, status_line
from edge.tasks import Tasks
from edge.watchdog import Hearts, Watchdog
from shared.clock import ManualClock, SystemClock

NAME = f"@tailtwin-test-{os.getpid()}"


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.socket.setblocking(False)

    def received(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(str(tmp_path / "notify"))
    yield one
    one.socket.close()


def test_the_manager_is_fed_only_while_every_heart_beats_in_time(
    tmp_path: Path, manager: Manager
) -> None:
    clock = ManualClock()
    hearts = Hearts(clock)
    tick, link = hearts.expect("tick", 5.0), hearts.expect("link", 60.0)
    told: list[dict[str, float]] = []
    notify = Notifier(str(tmp_path / "notify"))
    watchdog = Watchdog(hearts, notify, lambda: "cruise, F1", told.append)
    assert watchdog.look()
    assert manager.received() == ["WATCHDOG=1\nSTATUS=cruise, F1"]
    clock.advance_s(50)
    tick()
    assert watchdog.look()  # the link has its own bound
    clock.advance_s(11)
    tick()
    assert not watchdog.look()
    assert hearts.late() == {"link": 61.0}
    assert manager.received()[-1] == "STATUS=no heartbeat of link"
    link()
    assert watchdog.look()
    assert told == [{"link": 61.0}, {}]  # each change once


def test_a_task_that_hangs_beside_healthy_ones_ends_the_feeding(
    tmp_path: Path, manager: Manager
) -> None:
    async def scene() -> tuple[list[str], list[str]]:
        hearts, hang = Hearts(SystemClock()), asyncio.Event()
        beats = {name: hearts.expect(name, 0.15) for name in ("healthy", "hung")}

        async def healthy() -> None:
            while True:
                beats["healthy"]()
                await asyncio.sleep(0.01)

        async def hung() -> None:
            while not hang.is_set():
                beats["hung"]()
                await asyncio.sleep(0.01)
            await asyncio.Event().wait()

        watchdog = Watchdog(hearts, Notifier(str(tmp_path / "notify")), lambda: "")
        tasks = Tasks(lambda name, why: None, lambda error: None)
        tasks.start({"healthy": healthy, "hung": hung})
        for _ in range(10):
            await asyncio.sleep(0.03)
            watchdog.look()
        before = manager.received()
        hang.set()
        await asyncio.sleep(0.3)
        for _ in range(5):
            watchdog.look()
        after = manager.received()
        await tasks.stop()
        return before, after

    before, after = asyncio.run(scene())
    assert len(before) == 10
    assert all(text.startswith("WATCHDOG=1") for text in before)
    assert after == ["STATUS=no heartbeat of hung"] * 5


def test_a_task_that_died_and_is_started_again_is_not_late() -> None:
    async def scene() -> dict[str, float]:
        hearts = Hearts(SystemClock())
        beat, lives = hearts.expect("mortal", 1.0), 0

        async def mortal() -> None:
            nonlocal lives
            lives += 1
            beat()
            if lives == 1:
                raise ValueError("once")
            while True:
                beat()
                await asyncio.sleep(0.05)

        tasks = Tasks(lambda name, why: None, lambda error: None)
        tasks.start({"mortal": mortal})
        await asyncio.sleep(0.4)
        late = hearts.late()
        await tasks.stop()
        assert lives == 2
        return late

    assert asyncio.run(scene()) == {}


def test_an_abstract_socket_is_one_too() -> None:
    manager = Manager(NAME)
    try:
        Notifier(NAME)("READY=1")
        assert manager.received() == ["READY=1"]
    finally:
        manager.socket.close()


def test_without_a_manager_or_with_a_deaf_one_nothing_fails(tmp_path: Path) -> None:
    Notifier()("READY=1")
    gone = Notifier(str(tmp_path / "gone"))
    gone("READY=1")
    assert gone.sent == 0


def test_a_full_socket_costs_a_datagram_and_no_wait(tmp_path: Path, manager: Manager) -> None:
    notify = Notifier(str(tmp_path / "notify"))
    for _ in range(2000):
        notify("WATCHDOG=1")
    assert 0 < notify.sent < 2000


def test_a_status_is_one_bounded_line() -> None:
    assert status_line("a\nWATCHDOG=1") == "STATUS=a WATCHDOG=1"
    assert len(status_line("x" * 5000)) == len("STATUS=") + TEXT_CHARS_MAX
