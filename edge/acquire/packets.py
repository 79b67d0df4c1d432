"""MQTT 3.1.1 on the wire, as far as a bus that is only listened to needs it.

In: bytes as a socket gave them. Out: payloads of PUBLISH packets, and what else the broker said.
Always holds: pure, no I/O; no bytes crash it or make it hold more than PACKET_BYTES_MAX beyond what it
was given; a larger PUBLISH is skipped unheld and counted; anything that the broker may not send here
(a QoS that was not asked for, a packet that only clients send, a length that is none) is
`Malformed`, and nothing after it is believed.
Numbers in brackets: clauses of MQTT 3.1.1 (OASIS, 2014).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

PACKET_BYTES_MAX: Final = 16_384
"""Of one packet that is taken: a reading of 256 signals has at most 2.6 kB; an assumption."""

PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
_PUBLISH, _RETAINED = 0x30, 0x31
_CONNACK, _SUBACK, _PINGRESP = 0x20, 0x90, 0xD0
_LENGTH_OF: Final = {_CONNACK: 2, _SUBACK: 3, _PINGRESP: 0}
"""Remaining length of what else a broker may send here; SUBACK of one filter."""
_KINDS: Final = (
    "", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
    "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "",
)  # fmt: skip


class Malformed(Exception):
    """Bytes that no broker may send; args[0] is the cause, a key of `refused`."""


def connect(client_id: str, keepalive_s: int) -> bytes:
    """CONNECT with a clean session [3.1]."""
    name = client_id.encode()
    body = b"\0\4MQTT\4\2" + keepalive_s.to_bytes(2, "big") + len(name).to_bytes(2, "big") + name
    return b"\x10" + _length(len(body)) + body


def subscribe(topic: str) -> bytes:
    """SUBSCRIBE to one filter at QoS 0 [3.8], packet identifier 1."""
    name = topic.encode()
    body = b"\0\1" + len(name).to_bytes(2, "big") + name + b"\0"
    return b"\x82" + _length(len(body)) + body


class PacketReader:
    """Cuts a stream of bytes into packets."""

    def __init__(self, refused: Counter[str]) -> None:
        self._refused = refused
        self._rest = b""
        self._skip = 0
        self.has_more = False
        """The last `take` left packets that are whole already."""
        self.connack: int | None = None
        """Return code of the broker's CONNACK once it came [3.2.2.3]."""
        self.suback: int | None = None
        """Return code of its SUBACK [3.9.3]."""
        self.pings = 0
        """PINGRESPs so far."""

    def take(self, data: bytes, payloads: list[bytes], most: int) -> int:
        """Append what PUBLISH packets carry. Looks at `most` packets of any kind; how many it looked
        at. What is left waits for the next call."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, end = 0, len(data)
        if self._skip:
            at = min(self._skip, end)
            self._skip -= at
        append, left = payloads.append, most
        while left and end - at >= 2:
            size = data[at + 1]
            body = at + 2
            if size > 127:
                size, body = _varint(data, at + 1, end)
                if body < 0:
                    break
            stop = body + size
            if size > PACKET_BYTES_MAX:
                _check(data[at], size)
                self._refused["too large"] += 1
                left -= 1
                at = min(stop, end)
                self._skip = stop - at
                continue
            if stop > end:
                _check(data[at], size)  # what may not come is not waited for
                break
            if data[at] == _PUBLISH:
                # topic length, topic, payload; no packet identifier at QoS 0 [3.3.2]
                start = body + 2 + (data[body] << 8 | data[body + 1]) if size > 1 else stop + 1
                if start > stop:
                    raise Malformed("topic beyond its packet")
                append(data[start:stop])
            else:
                self._other(data[at], data[body:stop])
            left -= 1
            at = stop
        self._rest = data[at:]
        self.has_more = not left
        return most - left

    def _other(self, head: int, body: bytes) -> None:
        """A packet that is no plain reading."""
        _check(head, len(body))
        if head == _RETAINED:
            self._refused["retained"] += 1  # of a time before this connection: not a reading now
        elif head == _CONNACK:
            self.connack = body[1]
        elif head == _SUBACK:
            self.suback = body[2]
        else:
            self.pings += 1


def _check(head: int, size: int) -> None:
    """Malformed unless a broker may send a packet of this first byte and remaining length."""
    if head in (_PUBLISH, _RETAINED):
        return
    kind = _KINDS[head >> 4] or "reserved"
    if head >> 4 == _PUBLISH >> 4:
        raise Malformed("QoS that was not asked for")
    if head not in _LENGTH_OF:
        raise Malformed(f"{kind} from a broker")
    if size != _LENGTH_OF[head]:
        raise Malformed(f"{kind} of another length")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(remaining length, offset behind it); offset -1 while it is not whole [2.2.3]."""
    size = shift = 0
    for i in range(at, min(at + 4, end)):
        size |= (data[i] & 127) << shift
        if data[i] < 128:
            return size, i + 1
        shift += 7
    if end - at >= 4:
        raise Malformed("length that is none")
    return 0, -1


def _length(size: int) -> bytes:
    out = b""
    while size > 127:
        out += bytes([size & 127 | 128])
        size >>= 7
    return out + bytes([size])
