"""Version reports: from the files, signed, with a counter that nothing takes back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.logbook import Now
from edge.update.decisions import UpdateDecision, UpdateReason
from edge.update.keptroles import kept_roles, versions
from edge.versions import COUNTER_FILE, REFUSALS_MAX, Running, Versions
from shared.clock import ManualClock
from shared.envelope import TIME_BUS
from shared.errors import Rejected
from shared.identity import Signer
from shared.messages import VersionReport
from shared.version import check_version
from tests.unit.edge.update.bay import Bay


class Computer:
    """A device key, slots, and what an outbox keeps."""

    def __init__(self, folder: Path) -> None:
        self.bay = Bay(folder)
        self.device = Signer.create(folder / "device.key")
        self.kept: dict[str, bytes] = {}
        self.payloads: list[bytes] = []
        self.running = Running()
        self.versions = self.boot()

    def boot(self) -> Versions:
        settings: Any = SimpleNamespace(
            tail=SimpleNamespace(
                operator="OPX", tail="T-1",
                engines=[SimpleNamespace(position=1, esn="802001", part_number="P1")],
            ),
            state_dir=self.bay.state, device=self.device,
        )  # fmt: skip
        return Versions(
            settings, self.bay.slots, ManualClock(), boot=4, now=lambda: Now("F1", 77, "cruise"),
            emit=self.payloads.append, keep=lambda data: self.kept.update(x=data),
            kept=lambda: self.kept.get("x"), running=lambda: self.running,
        )  # fmt: skip

    def report(self, after: int | None = None) -> VersionReport:
        asyncio.run(self.versions.send("boot"))
        return check_version(self.payloads[-1], self.device.public, "OPX", "T-1", after, "x")


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


def test_a_report_says_what_runs_and_what_it_rests_on(computer: Computer) -> None:
    bay = computer.bay
    bay.update(egt=2, vib=1)
    metadata = bay.state / "tuf/image/metadata"
    metadata.mkdir(parents=True)
    (metadata / "timestamp.json").write_text(json.dumps({"signed": {"version": 9}}))
    (metadata / "odd.json").write_text("[]")
    computer.running = Running(muted={"egt": "out of range"})
    report = computer.report()
    assert (report.slot, report.set_id, report.probation) == ("b", bay.answer().id, True)
    assert [(b.name, b.release, b.muted) for b in report.bundles] == [
        ("egt", 2, "out of range"), ("vib", 1, ""),
    ]  # fmt: skip
    good = bay.slots.last_good()
    assert good is not None and report.last_good == good.id
    assert report.floors == {"egt": 2, "vib": 1} and report.tuf == {"image": {"timestamp": 9}}
    assert (report.t_event_ns, report.t_quality, report.boot) == (77, TIME_BUS, 4)
    assert report.engines[0].esn == "802001" and report.why == "boot"


def test_a_long_reason_leaves_a_report_that_can_be_read(computer: Computer) -> None:
    """What stands against each of many bundles, said of each of them."""
    computer.running = Running(why_muted="egt/egt-1.0.0.tar.zst is not signed any more; " * 1000)
    assert [b.muted[:21] for b in computer.report().bundles] == ["egt/egt-1.0.0.tar.zst"] * 2


def test_the_counter_grows_over_restarts_and_over_a_lost_outbox_or_a_lost_file(
    computer: Computer,
) -> None:
    counts = [computer.report().counter, computer.report().counter]
    computer.versions = computer.boot()
    counts.append(computer.report().counter)
    computer.kept.clear()
    computer.versions = computer.boot()
    counts.append(computer.report().counter)
    (computer.bay.state / COUNTER_FILE).write_bytes(b"\xff rot")
    counts.append(computer.report().counter)
    assert counts == [1, 2, 3, 4, 5]
    with pytest.raises(Rejected, match="shown before"):
        check_version(computer.payloads[0], computer.device.public, "OPX", "T-1", 5, "x")


def test_the_last_refusals_are_told_and_the_others_are_not(computer: Computer) -> None:
    for n in range(100):
        for decision in ("refused", "fetched", "deferred"):
            computer.versions.note(told(n, decision))
    computer.versions = computer.boot()
    report = computer.report()
    assert [r.t_ns for r in report.refusals] == list(range(100 - REFUSALS_MAX, 100))
    assert report.refusals[0].codes == ["phase"]


def test_a_damaged_live_set_is_not_claimed_to_run(computer: Computer) -> None:
    (computer.bay.state / "slots/a/egt-1.0.0.tar.zst").write_bytes(b"rot")
    report = computer.report()
    assert report.set_id == "" and report.bundles == []


def test_metadata_says_its_version_and_nonsense_says_none(tmp_path: Path) -> None:
    assert kept_roles(tmp_path) == []
    for repository, role in (("director", "timestamp"), ("image", "targets")):
        folder = tmp_path / repository / "metadata"
        folder.mkdir(parents=True)
        signed = {"version": 3, "expires": "2027-03-02T00:00:00Z"}
        (folder / f"{role}.json").write_text(json.dumps({"signed": signed}))
        (folder / "odd.json").write_text('{"signed": {"version": "x"}}')
    roles = kept_roles(tmp_path)
    assert versions(roles) == {"director": {"timestamp": 3}, "image": {"targets": 3}}
    assert {one.expires for one in roles} == {"2027-03-02T00:00:00Z"}


def told(n: int, decision: Any) -> UpdateDecision:
    return UpdateDecision(
        bundle="egt/x.tar.zst", phase="cruise", step="offer", decision=decision, t_ns=n,
        reasons=(UpdateReason("phase", "phase is cruise"),),
    )  # fmt: skip
