"""Upkeep in the daemon: notices, people, media and a probation, down to audit records and reports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import upkeep
from edge.__main__ import main
from edge.daemon import Daemon
from edge.update.disk import PosixDisk
from edge.update.floor import FILE as FLOOR
from edge.update.floor import TimeFloor
from edge.update.gate import GateInputs, Observation
from edge.update.memory import UpdateMemory
from edge.update.requests import Accept, Look, Request, Rollback, leave, take
from edge.update.slots import BundleSet
from edge.update.verified import FetchFailure
from shared.identity import Signer
from shared.messages import Audit, Notice, SignedVersion, VersionReport, decode
from shared.version import check_version
from tests.unit.edge import test_daemon
from tests.unit.edge.test_daemon import PARKED, Aircraft
from tests.unit.edge.update.bay import OPEN, SHUT, Bay, target

UPDATE = """
[update]
sources = """
NOWHERE = '["file:///nonexistent/stick"]'


class Stand:
    """A daemon on its real outbox and slots; gate, director and worker are the test's."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, sources: str = NOWHERE
    ) -> None:
        monkeypatch.setattr(test_daemon, "PROFILE", test_daemon.PROFILE + UPDATE + sources)
        monkeypatch.setattr(upkeep, "LOOK_S", 0.01)
        (folder / "bay").mkdir()
        self.bay = Bay(folder / "bay")
        self.aircraft = Aircraft(folder)
        self.state = folder / "state"
        for one in ("slots", "active"):
            (self.bay.state / one).rename(self.state / one)
        self.daemon = self.aircraft.daemon
        self.runner = asyncio.Runner()  # one loop: what waits belongs to it
        self.wire(monkeypatch)

    def wire(self, monkeypatch: pytest.MonkeyPatch) -> None:
        edge: Daemon = self.daemon
        client = edge._upkeep.client
        assert client is not None
        self.bay.slots = edge._slots

        async def trusted(live: object) -> list[str]:
            return []

        async def load(bundles: object) -> str:
            return ""

        monkeypatch.setattr(edge._models, "_trusted", trusted)
        monkeypatch.setattr(edge._host, "load", load)
        monkeypatch.setattr(client, "_fetch", self.bay.fetch)
        monkeypatch.setattr(client, "_admit", self.bay.admit)
        monkeypatch.setattr(client._gate, "_ask", lambda: self.bay.gate)

    def run(self, done: Callable[[], bool], first: Callable[[], None] = lambda: None) -> None:
        """The update task and what it spawns, until `done`."""

        async def drive() -> None:
            await self.daemon._load_live()
            first()
            self.daemon._upkeep.see_gate(self.bay.gate)
            task = asyncio.create_task(self.daemon._upkeep.run())
            try:
                async with asyncio.timeout(10):
                    while not done() or self.daemon._tasks._short:
                        await asyncio.sleep(0.005)
                        assert not task.done(), task.exception()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        self.runner.run(drive())

    def audits(self) -> list[Audit]:
        return [decode(Audit, data, "a") for data in self.aircraft.payloads("audit")]

    def said(self) -> list[tuple[str, str]]:
        return [(a.detail["step"], a.decision) for a in self.audits() if a.kind == "update"]

    def reports(self) -> list[VersionReport]:
        found = []
        for payload in self.aircraft.payloads("report"):
            try:
                found.append(
                    check_version(payload, self.aircraft.device.public, "OPX", "T-1", None, "r")
                )
            except Exception:  # a report of another schema
                continue
        return found


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    stand = Stand(tmp_path, monkeypatch)
    with stand.runner:
        yield stand


def notice(bundle: str, by: str = "fleet desk") -> Notice:
    return Notice(v=1, kind="offer", target=bundle, by=by)


def test_a_notice_becomes_a_live_set_with_a_record_of_every_step_and_a_report(stand: Stand) -> None:
    stand.bay.direct(egt=2, vib=1)
    stand.run(
        lambda: ("swap", "activated") in stand.said() and len(stand.reports()) == 2,
        lambda: stand.daemon._upkeep.take_notice(notice(target("egt", 2))),
    )
    assert stand.said() == [("download", "fetched"), ("swap", "activated")]
    swap = stand.audits()[-1]
    assert swap.detail["origin"] == "notice" and swap.detail["by"] == "fleet desk"
    assert swap.detail["set"] == stand.bay.answer().id and swap.detail["gate"] == "open"
    first, second = stand.reports()
    assert (first.why, second.why) == ("boot", "update") and second.counter == first.counter + 1
    assert second.probation and [b.release for b in second.bundles] == [2, 1]


def test_what_the_gate_saw_is_in_the_record_with_its_age(stand: Stand) -> None:
    seen = GateInputs(parking_brake=Observation(0.0, 0, 120_000_000))
    from msgspec.structs import replace

    stand.bay.gate = replace(SHUT, inputs=seen)
    stand.daemon._upkeep.take_notice(notice(target("egt", 2)))
    refused = stand.audits()[-1]
    assert refused.detail["inputs"] == "parking_brake 0 good 0.12 s"
    assert (refused.decision, refused.reasons) == ("refused", ["phase: phase is cruise"])


def test_a_failed_bundle_is_muted_in_flight_and_the_set_goes_back_at_the_stand(
    stand: Stand, tmp_path: Path
) -> None:
    stand.bay.update(egt=2, vib=1)
    failed = stand.bay.answer().id
    stand.bay.gate = SHUT

    def fails() -> None:
        models = stand.daemon._models
        assert models.probation is not None
        models._mute(models.probation.worker_died(9, "hangs"))

    stand.run(lambda: ("rollback", "due") in stand.said(), fails)
    state = stand.daemon._report_of_self.describe()
    assert state.muted == ["egt"] and state.is_on_probation and state.set_id == failed
    memory: UpdateMemory = stand.daemon._upkeep.client.memory  # type: ignore[union-attr]
    assert memory.back is not None and memory.back.set_id == failed
    stand.bay.gate = OPEN
    stand.run(lambda: ("rollback", "rolled_back") in stand.said())
    assert stand.bay.live() == {"egt": 1, "vib": 1}
    last = stand.reports()[-1]
    assert last.left == [failed] and not last.probation and last.refusals[-1].codes == ["probation"]
    assert (last.refusals[0].decision, last.refusals[0].bundle) == ("muted", "egt")
    assert stand.said() == [
        ("probation", "muted"), ("rollback", "due"), ("rollback", "rolled_back"),
    ]  # fmt: skip


def test_a_mute_whose_way_back_the_power_took_goes_back_after_the_next_start(stand: Stand) -> None:
    stand.bay.update(egt=2, vib=1)
    stand.bay.slots.mute_bundle("egt", "out of range")  # and nothing more was written
    stand.bay.gate = SHUT
    stand.run(lambda: ("rollback", "due") in stand.said())
    stand.bay.gate = OPEN
    stand.run(lambda: ("rollback", "rolled_back") in stand.said())
    assert stand.bay.live() == {"egt": 1, "vib": 1}


def test_a_set_on_probation_that_nobody_vouches_for_goes_back_and_is_not_barred(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.bay.update(egt=2, vib=1)
    doubted = stand.bay.answer().id

    async def trusted(live: BundleSet) -> list[str]:
        return ["not checked in 30 s"] if live.id == doubted else []

    monkeypatch.setattr(stand.daemon._models, "_trusted", trusted)
    stand.run(lambda: ("rollback", "rolled_back") in stand.said())
    assert stand.bay.live() == {"egt": 1, "vib": 1} and stand.bay.slots.left() == ()


def test_damage_to_the_only_set_asks_for_whatever_is_directed(stand: Stand) -> None:
    (stand.state / "slots/a/egt-1.0.0.tar.zst").write_bytes(b"rot")
    stand.run(lambda: ("swap", "activated") in stand.said())
    assert stand.bay.live() == {"egt": 1, "vib": 1}


def test_a_rollback_of_a_set_that_was_overtaken_leaves_the_one_that_is_live(stand: Stand) -> None:
    stand.bay.update(egt=2, vib=1)
    overtaken = stand.bay.answer().id
    leave(stand.state, Rollback(set_id=overtaken, by="J-17", reason="EGT reads 900"))
    stand.bay.update(egt=3, vib=1)
    stand.run(lambda: ("rollback", "unchanged") in stand.said())
    assert stand.bay.live() == {"egt": 3, "vib": 1}
    assert stand.audits()[-1].detail["by"] == "J-17"


def test_a_request_that_cannot_be_taken_is_told_once_and_stops_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    folder = stand.state / "requests"
    folder.symlink_to("requests")

    def counted(state: Path) -> tuple[list[Request], list[str]]:
        nonlocal looks
        looks += 1
        return take(state)

    monkeypatch.setattr(upkeep.requests, "take", counted)
    stand.run(lambda: looks > 3)
    assert len([a for a in stand.audits() if a.kind == "request"]) == 1
    folder.unlink()
    leave(stand.state, Look(by="J-18"))
    stand.run(lambda: any(a.detail.get("by") == "J-18" for a in stand.audits()))


def test_damage_to_a_proven_set_goes_back_to_the_whole_one_behind_it(stand: Stand) -> None:
    """No link is needed for it."""
    stand.bay.update(egt=2, vib=1)
    stand.bay.slots.prove()
    stand.bay.failure = FetchFailure(kind="unreachable", code="link", text="no link")
    (stand.state / "slots/b/egt-2.0.0.tar.zst").write_bytes(b"rot")
    stand.run(lambda: ("rollback", "rolled_back") in stand.said())
    assert stand.bay.live() == {"egt": 1, "vib": 1} and stand.bay.slots.left() == ()


def test_people_aboard_ask_by_a_file_and_media_by_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "stick"
    stand = Stand(tmp_path, monkeypatch, f'["file://{stick}"]\nacceptance = "technician"\n')
    with stand.runner:
        _ask_by_file_and_stick(stand, stick)


def _ask_by_file_and_stick(stand: Stand, stick: Path) -> None:
    wanted = stand.bay.direct(egt=2, vib=1).id
    (stick / "image/metadata").mkdir(parents=True)
    (stick / "image/metadata/timestamp.json").write_bytes(b"{}")
    stand.run(lambda: ("acceptance", "deferred") in stand.said())
    waits = next(a for a in stand.audits() if a.decision == "deferred")
    assert (waits.detail["origin"], waits.detail["by"]) == ("media", str(stick)[:64])
    leave(stand.state, Accept(set_id=wanted, by="J-17"))
    (stand.state / "requests" / "odd.json").write_bytes(b"{}")
    stand.run(lambda: ("swap", "activated") in stand.said())
    assert any(a.kind == "request" and a.decision == "refused" for a in stand.audits())
    leave(stand.state, Rollback(set_id=wanted, by="J-17", reason="EGT reads 900"))
    stand.run(lambda: ("rollback", "rolled_back") in stand.said())
    back = next(a for a in stand.audits() if a.decision == "rolled_back")
    assert back.reasons == ["operator: EGT reads 900"] and back.detail["by"] == "J-17"
    stand.aircraft.clock.advance_s(60)  # one look at a time
    leave(stand.state, Look(by="J-18"))
    stand.run(lambda: any(a.detail.get("by") == "J-18" for a in stand.audits()))


def test_the_updates_command_shows_it_all_beside_the_running_daemon(
    stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.bay.direct(egt=2, vib=1)
    stand.run(
        lambda: ("swap", "activated") in stand.said(),
        lambda: stand.daemon._upkeep.take_notice(notice(target("egt", 2))),
    )
    stand.bay.gate = SHUT
    stand.daemon._upkeep.take_notice(notice(target("egt", 3)))
    assert main(["updates", "--state", str(stand.state)]) == 0
    text = capsys.readouterr().out
    for part in (f"set {stand.bay.answer().id}, slot b", "waits for the next whole flight",
                 f"{target('egt', 3)} (from notice fleet desk)", "activated", "refused"):  # fmt: skip
        assert part in text
    assert main(["updates", "--state", str(stand.state), "--json", "--last", "1"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["set_id"] == stand.bay.answer().id and len(told["decisions"]) == 1
    assert told["decisions"][0]["decision"] == "refused" and told["probation"]["names"]


def test_the_updates_command_writes_nothing_even_where_the_clock_is_not_believed(
    stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    trust = stand.state / "tuf"
    (trust / "image").mkdir(parents=True)
    (trust / "image" / "root.json").write_bytes(b"{}")
    TimeFloor(trust / FLOOR, PosixDisk()).raise_to(4_000_000_000 * 10**9)
    before = {p: p.read_bytes() for p in stand.state.rglob("*") if p.is_file()}
    assert main(["updates", "--state", str(stand.state), "--json"]) == 0
    needed = json.loads(capsys.readouterr().out)["needed"]
    assert "no trusted time" in needed[0] and "the next session makes its nonce" in needed[0]
    after = {p: p.read_bytes() for p in stand.state.rglob("*") if p.is_file()}
    assert {p: d for p, d in after.items() if "outbox" not in p.name} == {
        p: d for p, d in before.items() if "outbox" not in p.name
    }


def test_the_commands_for_people_leave_requests_and_refuse_nonsense(
    stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(stand.state)]
    assert main(["accept", *state, "0123456789abcdef", "--by", "J-17"]) == 0
    assert main(["updates", *state, "--look", "--by", "J-17"]) == 0
    assert len(list((stand.state / "requests").iterdir())) == 2
    assert main(["rollback", *state, "--by", "J-17", "--reason", "x"]) != 0
    assert "no set to go back to" in capsys.readouterr().err
    assert main(["accept", *state, "../../x", "--by", "J-17"]) != 0
    assert main(["updates", *state, "--last", "0"]) != 0
    stand.bay.update(egt=2, vib=1)
    assert main(["rollback", *state, "--by", "J-17", "--reason", "x"]) == 0
    assert stand.bay.answer().id in capsys.readouterr().out


def test_a_flight_is_told_to_the_probation_from_off_block_to_its_end(stand: Stand) -> None:
    stand.bay.update(egt=2, vib=1)
    stand.run(lambda: stand.daemon._models.probation is not None)
    edge = stand.daemon

    async def fly() -> None:
        await stand.aircraft.live([*test_daemon.FLIGHT[:3]])
        assert edge._models.probation is not None
        assert edge._models.probation.state.flight == edge._periods.id
        await stand.aircraft.live([*test_daemon.FLIGHT[3:], (PARKED, 20)])

    stand.runner.run(fly())
    assert edge._models.probation is not None
    assert edge._models.probation.state.flights == 1, "nothing predicted: no pass"


def test_signed_version_is_what_travels(stand: Stand, tmp_path: Path) -> None:
    stand.run(lambda: bool(stand.reports()))
    other = Signer.create(tmp_path / "other.key")
    payload = next(p for p in stand.aircraft.payloads("report") if b"signature" in p)
    assert decode(SignedVersion, payload, "r").report
    with pytest.raises(Exception, match="does not verify"):
        check_version(payload, other.public, "OPX", "T-1", None, "r")
