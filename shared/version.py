"""The version report, signed aboard and checked anywhere: both halves side by side.

In: a `VersionReport` and the device key; or a record's payload and the enrolled public key. Out:
the payload; or the report, Rejected when it is not that tail's, or not newer than what is known.
Always holds: a report verifies apart from the link, the broker and the ledger that carried it; one
that was shown before, or an older one, is refused by its counter, never by a clock.
"""

from __future__ import annotations

from shared.errors import Rejected
from shared.identity import Signer, verify_signature
from shared.messages import SignedVersion, VersionReport, decode, encode

VERSION_SCHEMA = "version/1"
VERSION_BYTES_MAX = 64 * 1024
"""Assumption: 32 bundles, 64 names and 16 refusals are below 16 kB."""


def sign_version(report: VersionReport, device: Signer) -> bytes:
    """The payload of a record of class `report`, schema `version/1`."""
    body = encode(report)
    return encode(SignedVersion(report=body, signature=device.signature("version", body)))


def check_version(
    payload: bytes, public: bytes, operator: str, tail: str, after: int | None, where: str
) -> VersionReport:
    """The report in a payload, or Rejected.

    public: raw key of the device that this tail enrolled. after: counter of the newest report that
    is known from that device, None when there is none.
    """
    signed = decode(SignedVersion, payload, where, VERSION_BYTES_MAX)
    verify_signature("version", signed.report, signed.signature, public, where)
    report = decode(VersionReport, signed.report, where, VERSION_BYTES_MAX)
    if report.v != 1:
        raise Rejected(f"version {report.v} of a version report", where, "update the reader")
    if (report.operator, report.tail) != (operator, tail):
        whose = f"{report.operator}/{report.tail}"
        raise Rejected(f"a report of {whose}, not of {operator}/{tail}", where)
    if after is not None and report.counter <= after:
        what = f"version report {report.counter} is not after {after}: it was shown before"
        raise Rejected(what, where, "look who sends it again")
    return report


def read_version(payload: bytes, where: str) -> VersionReport:
    """The report without any check of who signed it: for people who look at their own store."""
    signed = decode(SignedVersion, payload, where, VERSION_BYTES_MAX)
    return decode(VersionReport, signed.report, where, VERSION_BYTES_MAX)
