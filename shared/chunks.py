"""A file of the ground in pieces, over a link that carries messages.

In: a path and an offset. Out: the bytes there. Request and answer are MessagePack arrays on
`aero.v1.{operator}.{tail}.update`; the answer goes to an inbox below the same tail.
Always holds: no piece is longer than CHUNK_BYTES_MAX; nothing here is trusted for its sender.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.bounds import Count, Octet

CHUNK_BYTES_MAX = 128 * 1024
REQUEST_BYTES_MAX = 1024
ANSWER_BYTES_MAX = CHUNK_BYTES_MAX + 1024
UPDATE, INBOX = "update", "inbox"  # leaves of a tail's subject
Status = Literal["ok", "absent", "busy", "refused"]


class ChunkRequest(msgspec.Struct, frozen=True, array_like=True):
    """At most `length` bytes of the file at `path`, from `offset` on."""

    v: Octet
    path: str
    offset: Count
    length: Count


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """What is there. total: of the file. tag: changes when the file does.

    absent: no such file. busy: ask again later. refused: not a request that is answered.
    An offset past the end is `ok` with no data.
    """

    v: Octet
    status: Status
    total: Count = 0
    tag: str = ""
    data: bytes = b""
