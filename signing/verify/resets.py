"""A reset of trusted time: what root keys say when no clock can be believed.

In: its bytes, the trusted image root, whose aircraft and which nonce. Out: the time, or Rejected.
Always holds: as many root keys as it takes to replace the root signed it, for this tail and for
the nonce that this aircraft shows now, so that it counts once and nowhere else.

One JSON file, `time/{tail}.json` on a source: {"signed": {"_type": "time-reset", "tail", "nonce",
"time", "expires"}, "signatures": [{"keyid", "sig"}]}; signed are the canonical bytes of "signed".
Imports tuf and securesystemslib: for a child aboard or a signer, never the recorder.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature, Signer
from tuf.api.metadata import Root

from shared.errors import Rejected

RESET_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 16
TIMES = "%Y-%m-%dT%H:%M:%SZ"
DAYS_MAX = 31
"""Assumption: a maintenance visit, and the way to it, take less than a month."""

Text = Annotated[str, Meta(min_length=1, max_length=64)]


class TimeReset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """time: when it was signed. expires: until when this aircraft may go by it. RFC 3339, UTC."""

    type: Literal["time-reset"] = msgspec.field(name="_type", default="time-reset")
    tail: Text
    nonce: Text
    time: Text
    expires: Text

    @property
    def time_ns(self) -> int:
        return _ns(self.time)

    @property
    def until_ns(self) -> int:
        return _ns(self.expires)

    def payload(self) -> bytes:
        """What is signed."""
        encoded = encode_canonical(msgspec.to_builtins(self))
        assert isinstance(encoded, str)
        return encoded.encode()


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: Text
    sig: Annotated[str, Meta(max_length=16_384)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signed: TimeReset
    signatures: Annotated[tuple[_Signature, ...], Meta(max_length=SIGNATURES_MAX)]


def reset_path(tail: str) -> str:
    """Where a source has the reset of a tail."""
    return f"time/{tail}.json"


def new_reset(tail: str, nonce: str, now: datetime, days: float = 2.0) -> TimeReset:
    """A reset to `now`, to be signed; Rejected when it would count for longer than DAYS_MAX."""
    if not 0 < days <= DAYS_MAX:
        raise Rejected(f"{days:g} days", "the reset", f"more than none, at most {DAYS_MAX}")
    end = now.astimezone(UTC) + timedelta(days=days)
    return TimeReset(
        tail=tail,
        nonce=nonce,
        time=now.astimezone(UTC).strftime(TIMES),
        expires=end.strftime(TIMES),
    )


def encode_reset(reset: TimeReset, signers: list[Signer], before: bytes = b"") -> bytes:
    """The file, signed by these as well. before: the file as others signed it already."""
    signatures = {s.keyid: s for s in _parse(before).signatures} if before else {}
    if before and _parse(before).signed != reset:
        raise Rejected("others signed another reset", "the reset", "sign the one they signed")
    for signer in signers:
        made = signer.sign(reset.payload())
        signatures[made.keyid] = _Signature(made.keyid, made.signature)
    return msgspec.json.encode(_File(reset, tuple(signatures.values())))


def parse_reset(data: bytes) -> TimeReset:
    """What it says, for people; nothing about it is verified. Rejected when it is none."""
    return _parse(data).signed


def signed_by(data: bytes) -> frozenset[str]:
    """The ids of the keys that signatures are there of, for people; none is verified."""
    return frozenset(one.keyid for one in _parse(data).signatures)


def check_reset(data: bytes, root: Root, tail: str, nonce: str) -> TimeReset:
    """The reset, if it is this aircraft's and enough root keys signed it; Rejected otherwise."""
    file = _parse(data)
    reset, where = file.signed, reset_path(tail)
    if reset.tail != tail:
        raise Rejected(f"a time reset of {reset.tail}, this is {tail}", where, "bring this tail's")
    if reset.nonce != nonce:
        raise Rejected(
            "the time reset names another nonce: it was used already, or is an older one's", where,
            f"have one signed for nonce {nonce}",
        )  # fmt: skip
    if not 0 < reset.until_ns - reset.time_ns <= DAYS_MAX * 86_400 * 10**9:
        raise Rejected("its times are out of order or too far apart", where, "sign a new one")
    signatures = {s.keyid: Signature(s.keyid, s.sig) for s in file.signatures}
    if len(signatures) != len(file.signatures):
        raise Rejected("one key signed twice", where, "sign a new one")
    result = root.get_verification_result(Root.type, reset.payload(), signatures)
    if not result:
        raise Rejected(
            f"{len(result.signed)} of {result.threshold} root keys signed the time reset", where,
            f"let more of the holders of root {root.version} sign it",
        )  # fmt: skip
    return reset


def _parse(data: bytes) -> _File:
    where = "time reset"
    if len(data) > RESET_BYTES_MAX:
        raise Rejected("too large", where, f"at most {RESET_BYTES_MAX} bytes")
    try:
        file = msgspec.json.decode(data, type=_File)
        _ns(file.signed.time), _ns(file.signed.expires)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Rejected(f"unreadable: {error}", where, "tailtwin-sign time-reset") from None
    return file


def _ns(text: str) -> int:
    at = datetime.strptime(text, TIMES).replace(tzinfo=UTC)
    return round(at.timestamp()) * 10**9
