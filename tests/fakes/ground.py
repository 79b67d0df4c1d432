"""A ground in memory: commits what arrives, acknowledges it signed. Records are safe at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.envelope import Envelope, open_envelope
from shared.identity import Signer
from shared.messages import Ack, Coverage, Hello, decode, encode
from shared.sync.receiver import NEW, Receiver

ACK_S = 0.02


class FakeGround:
    """`on_up` takes what links bring, `send(leaf, data)` carries acks down."""

    def __init__(self, send: Callable[[str, bytes], None], tail: str = "n1") -> None:
        self._send, self.tail, self.ledger = send, tail, "ledger-1"
        self.signer = Signer(Ed25519PrivateKey.generate())
        self.receivers: dict[str, Receiver] = {}
        self.records: dict[tuple[str, str, int], Envelope] = {}
        self.order: list[Envelope] = []
        self.hellos: list[Hello] = []
        self.nonces: dict[str, bytes] = {}
        self.repeats, self.t_ns = 0, 1_800_000_000 * 10**9
        self.answers = True
        self._due: asyncio.TimerHandle | None = None

    def on_up(self, leaf: str, data: bytes) -> None:
        if leaf == "hello":
            hello = decode(Hello, data, "hello")
            self.hellos.append(hello)
            self.nonces[hello.epoch] = hello.nonce
            receiver = self.receivers.setdefault(hello.epoch, Receiver(self.tail, hello.epoch))
            if self.answers:
                self.send_ack(receiver.ack(hello.nonce, self.ledger, self._now_ns()))
            return
        envelope = open_envelope(data)
        receiver = self.receivers.setdefault(envelope.epoch, Receiver(self.tail, envelope.epoch))
        identity = envelope.identity[1:]
        verdict = receiver.classify(
            envelope.stream, envelope.seq, envelope.sha256,
            lambda stream, seq: self.records[envelope.epoch, stream, seq].sha256,
        )  # fmt: skip
        if verdict is not NEW:
            self.repeats += 1
        else:
            self.records[identity] = envelope
            self.order.append(envelope)
            receiver.commit([identity[1:]])
            receiver.mark_all_safe()
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(ACK_S, self._acks)

    def send_ack(self, ack: Ack, signer: Signer | None = None) -> None:
        self._send("ack", (signer or self.signer).sign("ack", encode(ack)))

    def claim(self, epoch: str, stream: str, up_to: int) -> None:
        """Know more of an epoch than was ever sent."""
        receiver = self.receivers.setdefault(epoch, Receiver(self.tail, epoch))
        receiver.cover(stream, 0, up_to)

    def forged(self, epoch: str, nonce: bytes) -> None:
        """An ack for everything, under another key."""
        everything = {"alert": Coverage(1)}
        other = Signer(Ed25519PrivateKey.generate())
        self.send_ack(
            Ack(1, self.tail, epoch, self.ledger, nonce, everything, everything, 0), other
        )

    def _acks(self) -> None:
        self._due = None
        if self.answers:
            for epoch, nonce in self.nonces.items():
                self.send_ack(self.receivers[epoch].ack(nonce, self.ledger, self._now_ns()))

    def _now_ns(self) -> int:
        """A ground's clock: each ack is later than the one before."""
        self.t_ns += 1
        return self.t_ns
