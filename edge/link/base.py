"""What a link is: a way to publish below one's own tail, and to hear acks and notices.

In: leaf and bytes. Out: (leaf, bytes). Always holds: a link is stateless transport, its
acknowledgements prove nothing; every connection is a fresh one; what breaks, or does not answer
within CONNECT_S or PUBLISH_S, raises Unreachable; so does a broker that announces a message over
IN_BYTES_MAX or speaks nonsense, before the message is held in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.messages import CONTROL_BYTES_MAX

CONNECT_S = 5.0  # assumption: several round trips over a slow satellite hop
PUBLISH_S = 10.0  # a record of the whole window at the cap takes 2 s; then something is broken
KEEPALIVE_S = 15
IN_MESSAGES_MAX = 64  # acks and notices that wait to be read; further ones are dropped
IN_BYTES_MAX = CONTROL_BYTES_MAX + 1024  # of one message: a control message, signed
LEAVES_DOWN = ("ack", "notice")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a link leads and who asks."""

    host: str
    port: int
    user: str
    password: str
    operator: str
    tail: str

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


class Session(Protocol):
    """One connection, subscribed to its tail's acks and notices."""

    async def publish(self, leaf: str, data: bytes) -> None:
        """Return once the socket took it, for an alert or hello; bulk may wait for `flush`."""
        ...

    async def flush(self) -> None:
        """Return once the socket took everything."""
        ...

    def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """What arrives; raises Unreachable when the connection is gone."""
        ...


class Link(Protocol):
    """Makes sessions. framing_bytes: what a message costs on the wire beyond its data."""

    @property
    def framing_bytes(self) -> int: ...

    def connect(self) -> AbstractAsyncContextManager[Session]:
        """A fresh connection; Unreachable when there is none to be had."""
        ...
