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
ALL_RATES = 0.0


class Named(msgspec.Struct, frozen=True, array_like=True):
    """One bundle file of a set: its name, and what its bytes must be."""

    name: str
    sha256: str
    size: int


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Replace the set. The bytes of the files follow the frame, in order, and nothing else."""

    seq: int
    bundles: list[Named]
    bounds: ModelBounds


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """Inputs of one bundle. usable: one byte a row, 0 where the row is not a real one and keeps
    its states; empty when all are."""

    inputs: bytes
    usable: bytes = b""


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """One step of the bundles of a rate (Hz), or of all of them, in the order of the set."""

    seq: int
    rate_hz: float
    rows: list[Rows]


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """Answer to Load; an empty reason says that the whole set runs, else the old one does."""

    seq: int
    reason: str


class Stepped(msgspec.Struct, frozen=True, array_like=True, tag="stepped"):
    """Answer to Step. restarted: (place in `outputs`, row) whose states were not finite."""

    seq: int
    outputs: list[bytes]
    restarted: list[tuple[int, int]] = []


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
