"""Version reports: signed in the record, whose they are, and never twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.envelope import TIME_NONE
from shared.errors import Rejected
from shared.identity import Signer
from shared.messages import SignedVersion, VersionBundle, VersionEngine, VersionReport, encode
from shared.version import VERSION_BYTES_MAX, check_version, read_version, sign_version

REPORT = VersionReport(
    operator="OPX", tail="T-1", boot=3, counter=7, t_ns=1, t_event_ns=0, t_quality=TIME_NONE,
    why="boot", slot="a", set_id="00" * 8, probation=True, last_good="11" * 8, left=[],
    bundles=[VersionBundle(name="egt", release=2, sha256="ab" * 32, probation=True)],
    floors={"egt": 2}, tuf={"image": {"root": 1}}, refusals=[],
    engines=[VersionEngine(position=1, esn="802001", part_number="CFM56-7B26")],
)  # fmt: skip


@pytest.fixture
def device(tmp_path: Path) -> Signer:
    return Signer.create(tmp_path / "device.key")


def test_a_report_verifies_apart_from_what_carried_it(device: Signer) -> None:
    payload = sign_version(REPORT, device)
    assert check_version(payload, device.public, "OPX", "T-1", 6, "x") == REPORT
    assert check_version(payload, device.public, "OPX", "T-1", None, "x") == REPORT
    assert read_version(payload, "x") == REPORT


@pytest.mark.parametrize("after", [7, 8])
def test_a_report_that_is_shown_again_is_refused_by_its_counter(device: Signer, after: int) -> None:
    payload = sign_version(REPORT, device)
    with pytest.raises(Rejected, match="was shown before"):
        check_version(payload, device.public, "OPX", "T-1", after, "x")


def test_a_report_of_another_tail_or_operator_is_refused(device: Signer) -> None:
    payload = sign_version(REPORT, device)
    for operator, tail in (("OPX", "T-2"), ("OPY", "T-1")):
        with pytest.raises(Rejected, match="a report of OPX/T-1"):
            check_version(payload, device.public, operator, tail, None, "x")


def test_another_device_another_domain_and_changed_bytes_do_not_verify(
    device: Signer, tmp_path: Path
) -> None:
    other, body = Signer.create(tmp_path / "other.key"), encode(REPORT)
    forged = [
        sign_version(REPORT, other),
        encode(SignedVersion(report=body, signature=device.signature("manifest", body))),
        encode(SignedVersion(report=body + b"\0", signature=device.signature("version", body))),
        encode(SignedVersion(report=body, signature=b"short")),
    ]
    for payload in forged:
        with pytest.raises(Rejected, match="does not verify as a version"):
            check_version(payload, device.public, "OPX", "T-1", None, "x")


def test_nonsense_too_much_and_a_newer_format_are_refused(device: Signer) -> None:
    newer = sign_version(msgspec.structs.replace(REPORT, v=2), device)
    for payload in (b"", b"\xc1", b"\0" * (VERSION_BYTES_MAX + 1), newer):
        with pytest.raises(Rejected):
            check_version(payload, device.public, "OPX", "T-1", None, "x")
