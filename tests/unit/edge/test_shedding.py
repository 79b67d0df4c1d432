"""The daemon under pressure: what goes, what stays, what the ground is told; and its heartbeats."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge import daemon as daemon_module
from edge.governor import STEPS, Action
from edge.health import read_status
from edge.notify import Notifier
from edge.update.slots import BundleSet, SlotBundle
from edge.usage import Used
from shared.block import decode_block
from shared.messages import Alert, Audit, State, decode
from shared.signals import READING_MAGIC, READING_VERSION
from tests.unit.edge import test_daemon
from tests.unit.edge.test_daemon import CLIMB, PARKED, TAXI, Aircraft

CABIN = """
[[group]]
name = "cabin"
rate_hz = 5
block_s = 10
signal = [{ name = "CABIN_TEMP", unit = "Cel" }]
"""


@pytest.fixture
def aircraft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aircraft:
    text = test_daemon.SET.replace("[[exceedance]]", CABIN + "[[exceedance]]")
    monkeypatch.setattr(test_daemon, "SET", text)
    return Aircraft(tmp_path)


def fly(aircraft: Aircraft, legs: list[tuple[tuple[int, ...], int]]) -> None:
    """The cabin group speaks beside the other one."""
    group = aircraft.signals.groups[1]

    def cabin() -> None:
        row = np.zeros(1, group.dtype)
        row["magic"], row["version"], row["group"] = READING_MAGIC, READING_VERSION, 1
        row["set_hash"], row["counter"] = aircraft.signals.bus_hash, aircraft.counter - 1
        row["t_ns"] = 1_700_000_000_000_000_000 + (aircraft.counter - 1) * 200_000_000
        aircraft.bus.waiting.append(row.tobytes())

    asyncio.run(aircraft.live(legs, cabin))


def press(aircraft: Aircraft, cpu_s_per_window: float, windows: int) -> None:
    """Windows of 5 s in which all processes used so much CPU time."""

    async def scene() -> None:
        governing = aircraft.daemon._governing
        for _ in range(windows):
            aircraft.clock.advance_s(5)
            for _ in range(500):
                aircraft.daemon._hearts.beat("tick")
            press.cpu_s += cpu_s_per_window  # type: ignore[attr-defined]
            governing.look(Used(press.cpu_s, 50.0, 2), 5.0)  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    asyncio.run(scene())


press.cpu_s = 0.0  # type: ignore[attr-defined]


def audits(aircraft: Aircraft) -> list[Audit]:
    found = [decode(Audit, payload, "audit") for payload in aircraft.payloads("audit")]
    return [one for one in found if one.kind == "governor"]


def counters(aircraft: Aircraft, group: str) -> list[int]:
    blocks = [decode_block(payload) for payload in aircraft.payloads("block")]
    found = [b.counter.tolist() for b in blocks if b.group == group]
    return [c for counter in found for c in counter]


def test_under_load_bulk_is_thinned_and_everything_else_recorded(aircraft: Aircraft) -> None:
    fly(aircraft, [(PARKED, 10)])
    press(aircraft, 2.5, 12)  # half a core
    assert aircraft.daemon._governing.shed == ("bulk_2", "bulk_5")
    begin = aircraft.counter
    fly(aircraft, [(TAXI, 20), (CLIMB, 20)])
    aircraft.daemon._recorder.seal_all()
    assert counters(aircraft, "all") == list(range(aircraft.counter))
    thinned = [c for c in counters(aircraft, "cabin") if c >= begin]
    assert thinned == [c for c in range(begin, aircraft.counter) if c % 5 == 0]


def test_each_step_is_an_audit_record_a_state_and_in_the_status(aircraft: Aircraft) -> None:
    fly(aircraft, [(PARKED, 1)])
    press(aircraft, 2.5, 6)
    fly(aircraft, [(PARKED, 1)])
    shed, *_ = audits(aircraft)
    assert (shed.decision, shed.subject) == ("shed", "bulk_2")
    assert shed.reasons == ["cpu is 50 % of one core, at most 15, for 15 s"]
    assert shed.detail["bulk"] == "cabin"
    states = [decode(State, payload, "state") for payload in aircraft.payloads("state")
              if b"phase" in payload]  # fmt: skip
    assert states[0].shed == [] and states[-1].shed == ["bulk_2"]
    status = aircraft.daemon._report_of_self.status(0.0)
    assert status.governor.shed == ["bulk_2"]
    assert status.governor.measured["cpu"] == 50.0
    assert status.governor.budget["cpu"] == 15.0


def test_an_alert_leaves_while_everything_that_can_be_shed_is(
    aircraft: Aircraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aircraft.daemon._governing, "_able", lambda: STEPS)
    fly(aircraft, [(CLIMB, 10)])
    press(aircraft, 4.0, 30)
    assert aircraft.daemon._governing.shed == STEPS
    fly(aircraft, [((0, 0, 250, 2000, 110, 90, 90), 1)])
    (onset, *_) = [decode(Alert, payload, "alert") for payload in aircraft.payloads("alert")]
    assert (onset.name, onset.change) == ("n1_high", "onset")


def test_when_the_load_is_gone_everything_comes_back(aircraft: Aircraft) -> None:
    fly(aircraft, [(PARKED, 1)])
    press(aircraft, 2.5, 12)
    press(aircraft, 0.1, 40)
    assert aircraft.daemon._governing.shed == ()
    begin = aircraft.counter
    fly(aircraft, [(TAXI, 20)])
    aircraft.daemon._recorder.seal_all()
    assert [c for c in counters(aircraft, "cabin") if c >= begin] == list(
        range(begin, aircraft.counter)
    )
    decisions = [(one.decision, one.subject) for one in audits(aircraft) if one.subject]
    assert decisions == [
        ("shed", "bulk_2"), ("shed", "bulk_5"), ("restored", "bulk_5"), ("restored", "bulk_2"),
    ]  # fmt: skip


def test_models_that_can_raise_no_alert_go_and_the_others_stay(
    aircraft: Aircraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[list[str]] = []

    class FakeHost:
        signals: frozenset[str] = frozenset()
        rates: tuple[float, ...] = ()
        bindings = (
            SimpleNamespace(label="egt-1", misfits=(), bundle=SimpleNamespace(monitors=("m",))),
            SimpleNamespace(label="rom-1", misfits=(), bundle=SimpleNamespace(monitors=())),
        )

        async def load(self, bundles: list[tuple[Path, str]]) -> str:
            loaded.append([path.name for path, _ in bundles])
            return ""

    edge = aircraft.daemon
    monkeypatch.setattr(edge, "_host", FakeHost())
    monkeypatch.setattr(edge._models, "host", edge._host)
    live = BundleSet(
        slot="a", folder=Path("x"),
        bundles=tuple(
            SlotBundle(name=n[:3], release=1, sha256=n, file=f"{n}.tar.zst")
            for n in ("egt-1", "rom-1")
        ),
    )  # fmt: skip

    async def scene() -> None:
        assert await edge._models.load(live) == []
        assert edge._able() == ["models", "bulk_2", "bulk_5", "kpis"]
        state = edge._governing._state
        for shed, decision in ((("models",), "shed"), ((), "restored")):
            edge._governing._state = type(state)(shed=shed)  # type: ignore[arg-type]
            edge._govern(Action(decision, "models", ()), shed)  # type: ignore[arg-type]
            await asyncio.sleep(0.01)

    asyncio.run(scene())
    both = ["egt-1.tar.zst", "rom-1.tar.zst"]
    assert loaded == [both, both[:1], both]


def test_the_daemon_says_ready_feeds_the_watchdog_and_says_stopping(
    aircraft: Aircraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.setblocking(False)
    edge = aircraft.daemon
    edge._notify = edge._watchdog._notify = Notifier(path)
    monkeypatch.setattr(daemon_module, "UNLINKED_S", 0.0)

    def received() -> list[str]:
        found = []
        while True:
            try:
                found.append(manager.recv(4096).decode().splitlines()[0])
            except BlockingIOError:
                return found

    async def scene() -> tuple[list[str], list[str], list[str]]:
        running = asyncio.create_task(edge.run())
        await asyncio.sleep(0.3)
        first = received()
        edge._tasks._named["link"].cancel()  # a task that no longer runs: nobody beats for it
        aircraft.clock.advance_s(50)
        await asyncio.sleep(0.7)
        aircraft.clock.advance_s(15)
        for _ in range(15):
            await asyncio.sleep(0.1)
        hung = received()
        edge._stop.set()
        await asyncio.wait_for(running, 10)
        return first, hung, received()

    first, hung, last = asyncio.run(scene())
    manager.close()
    assert sorted(first) == ["READY=1", "WATCHDOG=1"]
    assert hung[-1].startswith("STATUS=no heartbeat of ") and "link" in hung[-1]
    assert last[-1] == "STOPPING=1"
    status = read_status(tmp_path / "state" / "status.json")
    assert status is not None and status.is_stopping and "link" in status.late
