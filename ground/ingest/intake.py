"""Intake: what a message from a link is, before anything is stored.

In: subject and bytes as a link carried them, and the enrolled tails. Out: an `Arrival`, a
`Greeting` or a `Refusal`. Pure.
Always holds: an arrival's operator, tail and class are those of its subject, which the broker
lets only this tail publish; a manifest verified under this tail's enrolled key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from ground.ingest.versions import Claim, claim_of
from shared.envelope import Envelope, open_envelope
from shared.errors import Rejected
from shared.identity import verify
from shared.messages import MANIFEST_BYTES_MAX, Hello, Manifest, decode
from shared.topics import CLASSES, check_identifier, parse_subject

HELLO_VERSION = 1
MANIFEST_VERSION = 1
NONCE_BYTES_MAX = 64
PARTS_MAX = 4096
STREAMS_MAX = 300
"""Distinct (epoch, stream) of one manifest (assumption: 72 streams, and four epochs in a flight)."""
OUTAGES_MAX = 640  # the recorder names 512, and then one more for each of 64 groups
GROUPS_MAX = 640  # assumption: ten times the groups of a signal set
SUM_MAX = 1 << 62
"""Of the records and readings a manifest names: a closure counts them in int64."""
TAIL_CHARS = 18
"""A flight is named `{first 18 of the tail}-{epoch}-{serial}`."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record that may be stored. `manifest` is set for the class of that name, `version` for a
    version report."""

    envelope: Envelope
    sealed: bytes
    sealed_sha256: bytes
    manifest: Manifest | None = None
    manifest_body: bytes = b""
    version: Claim | None = None


@dataclass(frozen=True, slots=True)
class Greeting:
    """A hello of an enrolled tail."""

    tail: str
    hello: Hello


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message is not stored. reason: one word, counted; detail: for the log."""

    reason: str
    subject: str
    detail: str


def examine(
    subject: str, data: bytes, operator: str, keys: Mapping[str, bytes]
) -> Arrival | Greeting | Refusal:
    """keys: raw public key of the device of each enrolled tail."""
    try:
        of_operator, tail, leaf = parse_subject(subject)
    except Rejected as error:
        return Refusal("subject", subject[:100], error.what)
    if of_operator != operator or (leaf not in CLASSES and leaf != "hello"):
        return Refusal("subject", subject, "not of this operator, or an unknown leaf")
    if tail not in keys:
        return Refusal("tail", subject, "this tail is not enrolled")
    if leaf == "hello":
        return _greeting(subject, tail, data)
    try:
        envelope = open_envelope(data, subject)
    except Rejected as error:
        return Refusal("envelope", subject, error.what)
    if (envelope.operator, envelope.tail, envelope.cls) != (operator, tail, leaf):
        return Refusal("mismatch", subject, "the envelope names another operator, tail or class")
    if envelope.flight and not envelope.flight.startswith(tail[:TAIL_CHARS] + "-"):
        return Refusal("flight", subject, f"{envelope.flight} is no flight of this tail")
    digest = hashlib.sha256(data).digest()
    if leaf != "manifest":
        return Arrival(envelope, data, digest, version=claim_of(envelope, keys))
    try:
        body = verify("manifest", envelope.payload, keys[tail], subject)
        manifest = decode(Manifest, body, subject, MANIFEST_BYTES_MAX)
        _check(manifest, operator, tail, subject)
    except Rejected as error:
        return Refusal("manifest", subject, error.what)
    return Arrival(envelope, data, digest, manifest, body)


def _greeting(subject: str, tail: str, data: bytes) -> Greeting | Refusal:
    try:
        hello = decode(Hello, data, subject)
        check_identifier(hello.epoch, subject)
        for stream, position in hello.streams.items():
            check_identifier(stream, subject)
            if not 0 <= position.first_held <= position.next_seq < 1 << 62:
                raise Rejected(f"positions of {stream} are out of order", subject)
    except Rejected as error:
        return Refusal("hello", subject, error.what)
    if hello.v != HELLO_VERSION or len(hello.nonce) > NONCE_BYTES_MAX:
        return Refusal("hello", subject, f"hello version {hello.v}, or a nonce over 64 bytes")
    return Greeting(tail, hello)


def _check(manifest: Manifest, operator: str, tail: str, where: str) -> None:
    if manifest.v != MANIFEST_VERSION:
        raise Rejected(f"manifest version {manifest.v}", where)
    if (manifest.operator, manifest.tail) != (operator, tail):
        raise Rejected("the manifest names another operator or tail", where)
    check_identifier(manifest.flight, where)
    if not manifest.flight.startswith(tail[:TAIL_CHARS] + "-"):
        raise Rejected(f"{manifest.flight} is no flight of this tail", where)
    counts = (
        ("parts", len(manifest.parts), PARTS_MAX),
        ("streams", len({(part.epoch, part.stream) for part in manifest.parts}), STREAMS_MAX),
        ("outages", len(manifest.outages), OUTAGES_MAX),
        ("groups", len(manifest.groups), GROUPS_MAX),
    )
    for name, count, count_max in counts:
        if count > count_max:
            raise Rejected(f"{count} {name}, over the cap of {count_max}", where)
    total = 0
    for part in manifest.parts:
        check_identifier(part.epoch, where)
        check_identifier(part.stream, where)
        if not 0 <= part.low <= part.high < 1 << 62:
            raise Rejected(f"part {part.stream} [{part.low}, {part.high})", where)
        total += part.high - part.low
    for name in [*(g.group for g in manifest.groups), *(o.group for o in manifest.outages)]:
        check_identifier(name, where)
    total += sum(max(0, outage.missing) for outage in manifest.outages)
    times = (manifest.opened_ns, manifest.closed_ns, *(
        t_ns for outage in manifest.outages for t_ns in (outage.start_ns, outage.end_ns)
    ))  # fmt: skip
    if total >= SUM_MAX or any(abs(t_ns) >= SUM_MAX for t_ns in times):
        raise Rejected("counts or times that do not fit", where)
