"""A synthetic tail: signal set, blocks, records and manifests made without an aircraft.

Engineering truth comes with it, so that a test compares answers with numpy, not with the code.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.block import Block, encode_block
from shared.envelope import seal
from shared.identity import Signer, verify
from shared.messages import (
    Ack,
    Hello,
    Manifest,
    Oooi,
    Outage,
    PartStream,
    StreamPosition,
    decode,
    encode,
)
from shared.signals import SignalSet, parse_signal_set
from shared.topics import subject

OPERATOR, TAIL, EPOCH = "OPX", "B737-28001", "3f9a1c"
FLIGHT = f"{TAIL}-{EPOCH}-F00001"
T0_NS = 1_760_000_000_000_000_000
SET_TEXT = b"""
name = "small"
version = 1
airframe = "B737"
[[group]]
name = "engine"
rate_hz = 1.0
block_s = 30.0
signal = [
  { name = "EGT", unit = "Cel", scale = 0.5, offset = -40.0 },
  { name = "N1", unit = "%", scale = 0.125 },
  { name = "HPT_X", unit = "mm", encoding = "f64" },
  { name = "SIDE_STICK", unit = "deg", scale = 0.1, confidentiality = "fdm" },
]
[[group]]
name = "air"
rate_hz = 4.0
signal = [ { name = "ALT", unit = "[ft_i]", scale = 4.0 } ]
"""
SET: SignalSet = parse_signal_set(SET_TEXT, "test")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def make_block(group: str, first: int, n: int, seed: int = 1, period: str = FLIGHT) -> Block:
    """`n` readings from number `first` on; a few bad and no_data ones."""
    rng = np.random.default_rng([seed, first])
    kind = SET.group(group)
    k, n_f64 = len(kind.signal), int(kind.is_f64.sum())
    quality = rng.choice(np.array([0, 0, 0, 0, 0, 1, 6, 3], np.uint8), (n, k))
    return Block(
        group, SET.sha256, period, 1, 0, 2,
        T0_NS + (first + np.arange(n, dtype=np.int64)) * kind.period_ns,
        np.arange(first, first + n, dtype=np.int64),
        rng.integers(0, 4000, (n, k - n_f64)).astype(np.int64), rng.normal(size=(n, n_f64)),
        np.zeros((n, k), np.uint8), quality,
    )  # fmt: skip


@dataclass
class Tail:
    """Seals records of one epoch, each stream numbered from 0."""

    tail: str = TAIL
    epoch: str = EPOCH
    operator: str = OPERATOR
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))
    next_seq: dict[str, int] = field(default_factory=dict)

    @property
    def flight(self) -> str:
        """Its first flight, named after the first epoch whatever its own."""
        return f"{self.tail[:18]}-{EPOCH}-F00001"

    def record(
        self, cls: str, payload: bytes, *, stream: str = "", flight: str | None = None,
        schema: str = "", t_ns: int = T0_NS, seq: int | None = None,
    ) -> tuple[str, bytes]:  # fmt: skip
        """(subject, sealed bytes) of the next record of a stream."""
        stream = stream or cls
        flight = self.flight if flight is None else flight
        if seq is None:
            seq = self.next_seq.get(stream, 0)
            self.next_seq[stream] = seq + 1
        _, sealed = seal(
            operator=self.operator, tail=self.tail, epoch=self.epoch, stream=stream, seq=seq,
            cls=cls, flight=flight, t_event_ns=t_ns, t_quality=2, schema=schema or f"{cls}/1",
            codec="", payload=payload,
        )  # fmt: skip
        return subject(self.operator, self.tail, cls), sealed

    def signal_set(self) -> tuple[str, bytes]:
        return self.record("state", SET_TEXT, schema="signal-set/1")

    def block(
        self, group: str, first: int, n: int, flight: str | None = None, seq: int | None = None
    ) -> tuple[str, bytes]:
        flight = self.flight if flight is None else flight
        block = make_block(group, first, n, period=flight)
        return self.record("block", encode_block(block), stream=f"block-{group}", flight=flight,
                           t_ns=int(block.t_ns[0]), seq=seq)  # fmt: skip

    def manifest(
        self, flight: str | None = None, *, outages: tuple[Outage, ...] = (),
        signer: Signer | None = None, parts: list[PartStream] | None = None, closed_ns: int = 0,
    ) -> tuple[str, bytes]:  # fmt: skip
        """Over everything sealed so far, itself not counted."""
        flight = self.flight if flight is None else flight
        if parts is None:
            parts = [PartStream(self.epoch, stream, 0, n)
                     for stream, n in self.next_seq.items() if stream != "manifest"]  # fmt: skip
        body = encode(Manifest(
            1, self.operator, self.tail, flight, "ground" if "-G" in flight else "flight", 1,
            T0_NS, closed_ns or T0_NS + 10**12, Oooi(T0_NS), parts, [], list(outages), [1],
            SET.sha256, [], ["E1", "E2"],
        ))  # fmt: skip
        signed = (signer or self.signer).sign("manifest", body)
        return self.record("manifest", signed, flight=flight)

    def hello(self, nonce: bytes = b"n" * 16, boot: int = 1) -> tuple[str, bytes]:
        streams = {name: StreamPosition(0, n) for name, n in self.next_seq.items()}
        message = Hello(1, nonce, boot, self.epoch, streams)
        return subject(self.operator, self.tail, "hello"), encode(message)


@dataclass
class Truth:
    """What a signal was, from the blocks themselves."""

    t_ns: np.ndarray
    value: np.ndarray
    used: np.ndarray
    raw: np.ndarray
    quality: np.ndarray


def truth(blocks: list[Block], name: str) -> Truth:
    """Hand calculation: value = scale * raw + offset; used where quality is good or suspect."""
    group, position = SET.position[name]
    signal = group.signal[position]
    before = sum(s.encoding == "f64" for s in group.signal[:position])
    if signal.encoding == "f64":
        raw = np.concatenate([b.f64[:, before] for b in blocks])
        value = raw
    else:
        raw = np.concatenate([b.raw[:, position - before] for b in blocks])
        value = raw * signal.scale + signal.offset
    quality = np.concatenate([b.quality[:, position] for b in blocks])
    return Truth(np.concatenate([b.t_ns for b in blocks]), value, quality % 4 < 2, raw, quality)


def open_ack(data: bytes, ground_pub: bytes) -> Ack:
    return decode(Ack, verify("ack", data, ground_pub, "ack"), "ack")


async def wait_for(predicate, timeout_s: float = 10.0) -> None:
    """Until the predicate holds; polls every 10 ms."""
    async with asyncio.timeout(timeout_s):
        while not predicate():
            await asyncio.sleep(0.01)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
