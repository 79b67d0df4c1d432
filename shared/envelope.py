"""The envelope: how one record travels and rests.

In: identity and payload. Out: MessagePack bytes whose meaning never changes once sealed.
Always holds: size is checked before decoding, the hash of the payload after; an unknown
version is refused by name, unknown newer fields are ignored (the struct is a MessagePack
array, so later fields are trailing elements).
"""

from __future__ import annotations

import hashlib
import zlib

import msgspec

from shared.bounds import Count, Int62, Octet
from shared.errors import Rejected
from shared.topics import CLASSES, IDENTIFIER

VERSION = 1
PAYLOAD_BYTES_MAX = 512 * 1024
ENVELOPE_BYTES_MAX = PAYLOAD_BYTES_MAX + 2048
SEQ_MAX = (1 << 62) - 1

# Clock quality of `t_event_ns`.
TIME_NONE, TIME_BUS, TIME_TRUSTED = 0, 1, 2


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """One record: `(tail, epoch, stream, seq)` is its identity. `flight` names its period."""

    v: Count
    operator: str
    tail: str
    epoch: str
    stream: str
    seq: Count
    cls: str
    flight: str
    t_event_ns: Int62
    t_quality: Octet
    schema: str
    codec: str
    sha256: bytes
    payload: bytes
    crc32: Count = 0
    """Of every field before `payload`, in MessagePack: a flipped bit in an identity must not make
    another record of it."""

    @property
    def identity(self) -> tuple[str, str, str, int]:
        return (self.tail, self.epoch, self.stream, self.seq)


_ENCODER = msgspec.msgpack.Encoder()
_HEAD_FIELDS = Envelope.__struct_fields__.index("payload")
_DECODER = msgspec.msgpack.Decoder(Envelope)
_VERSION = msgspec.msgpack.Decoder(list[msgspec.Raw])


def seal(
    *, operator: str, tail: str, epoch: str, stream: str, seq: int, cls: str, flight: str,
    t_event_ns: int, t_quality: int, schema: str, codec: str, payload: bytes,
) -> tuple[Envelope, bytes]:  # fmt: skip
    """The envelope and its sealed bytes; Rejected for a payload over PAYLOAD_BYTES_MAX."""
    assert cls in CLASSES
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Rejected(f"{len(payload)} bytes, over the cap of {PAYLOAD_BYTES_MAX}", stream)
    head = (
        VERSION, operator, tail, epoch, stream, seq, cls, flight, t_event_ns, t_quality,
        schema, codec, hashlib.sha256(payload).digest(),
    )  # fmt: skip
    envelope = Envelope(*head, payload, zlib.crc32(_ENCODER.encode(head)))
    return envelope, _ENCODER.encode(envelope)


def open_envelope(data: bytes, where: str = "envelope") -> Envelope:
    """Decode and check sealed bytes; Rejected says what is wrong with them."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise Rejected(f"{len(data)} bytes, over the cap of {ENVELOPE_BYTES_MAX}", where)
    try:
        envelope = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not an envelope: {_version_note(data) or error}", where) from None
    if envelope.v != VERSION:
        raise Rejected(f"envelope version {envelope.v}; this program reads {VERSION}", where)
    for name in (envelope.operator, envelope.tail, envelope.epoch, envelope.stream):
        if not IDENTIFIER.match(name):
            raise Rejected(f"{name[:40]!r} is not an identifier", where)
    if envelope.flight and not IDENTIFIER.match(envelope.flight):
        raise Rejected(f"{envelope.flight[:40]!r} is not a flight", where)
    if envelope.cls not in CLASSES:
        raise Rejected(f"unknown class {envelope.cls[:40]!r}", where)
    if not 0 <= envelope.seq <= SEQ_MAX or not -(1 << 62) < envelope.t_event_ns < (1 << 62):
        raise Rejected("sequence number or event time out of range", where)
    if len(envelope.schema) > 64 or len(envelope.codec) > 16:
        raise Rejected("schema or codec name too long", where)
    head = msgspec.structs.astuple(envelope)[:_HEAD_FIELDS]
    if zlib.crc32(_ENCODER.encode(head)) != envelope.crc32:
        raise Rejected("its head does not match its CRC-32", where)
    if hashlib.sha256(envelope.payload).digest() != envelope.sha256:
        raise Rejected("payload does not match its sha-256", where)
    return envelope


def _version_note(data: bytes) -> str:
    """`envelope version 9 …` when that is why decoding failed."""
    try:
        version = msgspec.msgpack.decode(_VERSION.decode(data)[0], type=int)
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError, RecursionError):
        return ""
    return "" if version == VERSION else f"envelope version {version}; this program reads {VERSION}"
