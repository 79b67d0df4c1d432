"""What recorder and model worker say to each other over a pair of pipes.

A frame is a 4-byte little-endian length and a MessagePack array. Arrays of numbers are float32,
little endian, C order: [instances, columns]. Always holds: a frame over the cap is refused
before it is read.
"""

from __future__ import annotations

import msgspec

from shared.errors import Rejected
from shared.profile import ModelBounds

FRAME_BYTES_MAX = 1 << 20


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Replace the set: (path, sha-256 in hex) of each bundle file."""

    seq: int
    bundles: list[tuple[str, str]]
    bounds: ModelBounds


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """Inputs of each bundle, in the order of the set."""

    seq: int
    inputs: list[bytes]


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """Answer to Load; an empty reason says that the whole set runs, else the old one does."""

    seq: int
    reason: str


class Stepped(msgspec.Struct, frozen=True, array_like=True, tag="stepped"):
    """Answer to Step."""

    seq: int
    outputs: list[bytes]


_requests: msgspec.msgpack.Decoder[Load | Step] = msgspec.msgpack.Decoder(Load | Step)
_replies: msgspec.msgpack.Decoder[Loaded | Stepped] = msgspec.msgpack.Decoder(Loaded | Stepped)


def frame(message: Load | Step | Loaded | Stepped) -> bytes:
    """The frame of a message."""
    body = msgspec.msgpack.encode(message)
    assert len(body) <= FRAME_BYTES_MAX, "our own frame is over the cap"
    return len(body).to_bytes(4, "little") + body


def body_size(header: bytes) -> int:
    """The length that a frame's header states; Rejected when it is over the cap."""
    size = int.from_bytes(header, "little")
    if size > FRAME_BYTES_MAX:
        raise Rejected(f"frame of {size} bytes, over the cap", "model worker")
    return size


def request(body: bytes) -> Load | Step:
    """What the recorder said."""
    return _requests.decode(body)


def reply(body: bytes) -> Loaded | Stepped:
    """What the worker said; Rejected when it is nothing we know."""
    try:
        return _replies.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"not an answer: {error}", "model worker") from None
