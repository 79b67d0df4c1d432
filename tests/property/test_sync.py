"""Sender and receiver over a channel that loses, reorders and repeats, with both ends restarting.

Every example is one seed; a failing one prints it, and `simulate(seed)` replays it.
"""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.envelope import Envelope, open_envelope
from shared.messages import Ack, Hello, decode, encode
from shared.sync.receiver import DUPLICATE, FORK, NEW, Receiver
from shared.sync.sender import AckOutcome, Limits, Outgoing, Sender
from shared.topics import CLASSES
from tests.fakes.store import MemoryStore

SILENT_NS = 15_000_000_000
Identity = tuple[str, str, int]
STREAMS = [(cls, cls) for cls in CLASSES[:-1]] + [("block", "block-air"), ("block", "block-eng")]


class Ground:
    """Ledger and receivers. `backup` is what survives the loss of the ledger."""

    def __init__(self) -> None:
        self.ledger: dict[Identity, bytes] = {}
        self.backup: dict[Identity, bytes] = {}
        self.generation = self.t_ns = 0
        self.forks: list[Identity] = []
        self.restart()

    def restart(self) -> None:
        """Nothing but the ledger is left: uncommitted records, owed acks and nonces are gone."""
        self.nonces: dict[str, bytes] = {}
        self.receivers: dict[str, Receiver] = {}
        self.batch: dict[Identity, Envelope] = {}
        for held, mark in ((self.ledger, Receiver.commit), (self.backup, None)):
            for epoch, stream, seq in held:
                receiver = self.receivers.setdefault(epoch, Receiver("n1", epoch))
                if mark:
                    receiver.commit([(stream, seq)])
                else:
                    receiver.mark_safe(stream, seq, seq + 1)

    def lose_ledger(self) -> None:
        self.ledger = dict(self.backup)
        self.generation += 1
        self.restart()

    def restore(self) -> None:
        """The ledger of the backup, which has the same identity."""
        self.ledger = dict(self.backup)
        self.restart()

    def back_up(self) -> None:
        self.backup = dict(self.ledger)
        for receiver in self.receivers.values():
            receiver.mark_all_safe()

    def on_message(self, out: Outgoing) -> Ack | None:
        if out.leaf == "hello":
            hello = decode(Hello, out.data, "hello")
            receiver = self.receivers.setdefault(hello.epoch, Receiver("n1", hello.epoch))
            receiver.on_hello(hello)
            self.nonces[hello.epoch] = hello.nonce
            return self.ack(receiver, hello.nonce)
        envelope = open_envelope(out.data)
        receiver = self.receivers.setdefault(envelope.epoch, Receiver("n1", envelope.epoch))
        verdict = receiver.classify(
            envelope.stream,
            envelope.seq,
            envelope.payload,  # stands for its hash
            lambda stream, seq: self.ledger.get((envelope.epoch, stream, seq)),
        )
        identity = (envelope.epoch, envelope.stream, envelope.seq)
        if verdict is NEW:
            self.batch.setdefault(identity, envelope)
        elif verdict is FORK:
            self.forks.append(identity)
        else:
            assert verdict is DUPLICATE
        return None

    def commit(self) -> None:
        for identity, envelope in self.batch.items():
            assert identity not in self.ledger, "twice in the ledger"
            self.ledger[identity] = envelope.payload
            self.receivers[identity[0]].commit([identity[1:]])
        self.batch.clear()

    def due_acks(self, now_ns: int) -> list[Ack]:
        due = [(n, r) for e, r in self.receivers.items() if (n := self.nonces.get(e))]
        due = [(nonce, receiver) for nonce, receiver in due if receiver.ack_due(now_ns)]
        for _, receiver in due:
            receiver.acked(now_ns)
        return [self.ack(receiver, nonce) for nonce, receiver in due]

    def ack(self, receiver: Receiver, nonce: bytes) -> Ack:
        self.t_ns += 1
        said = receiver.ack(nonce, f"ledger-{self.generation}", self.t_ns)
        return decode(Ack, encode(said), "ack")


class World:
    """Both ends and the channel between them, driven by one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ns = 0
        self.store, self.ground = MemoryStore(), Ground()
        self.sender = Sender(self.store, "n1")
        self.made: dict[Identity, bytes] = {}
        self.up: list[Outgoing] = []
        self.down: list[Ack] = []
        self.recorded: list[Ack] = []  # what a hostile broker kept of earlier connections
        self.loss = self.repeat = 0.3
        self.nonces = 0
        self.told: set[Identity] = set()  # what an ack of the ground called received

    def connect(self) -> None:
        self.nonces += 1
        cap = self.random.choice([2_000.0, 20_000.0, 1e6])
        self.sender.on_connect(b"%016d" % self.nonces, Limits(cap), self.now_ns)

    def append(self) -> None:
        cls, stream = self.random.choice(STREAMS)
        payload = self.random.randbytes(self.random.choice([1, 40, 3_000]))
        self.made[self.store.append(cls, payload, stream)] = payload

    def send(self) -> None:
        if self.sender.silent_ns(self.now_ns) > SILENT_NS:
            self.connect()  # as the link runner does: a ground that restarted knows no nonce
        while (out := self.sender.take(self.now_ns)) is not None:
            if out.held is not None:
                identity = (out.held.epoch, out.held.stream, out.held.seq)
                assert identity not in self.told, "sent again over received"
            for _ in range(self._copies()):
                self.up.append(out)

    def deliver_up(self) -> None:
        if self.up:
            answer = self.ground.on_message(self._pick(self.up))
            if answer is not None:
                self.down += [answer] * self._copies()

    def acks(self) -> None:
        for ack in self.ground.due_acks(self.now_ns):
            self.down += [ack] * self._copies()

    def deliver_down(self) -> None:
        if not self.down:
            return
        ack = self._pick(self.down)
        first = not self.sender.answered
        outcome = self.sender.on_ack(ack, self.now_ns)
        assert outcome is not AckOutcome.GROUND_AHEAD
        if self.random.random() < 0.1:
            self.recorded.append(ack)
        if outcome is AckOutcome.OTHER_LEDGER:
            self.connect()
        if outcome is AckOutcome.ACCEPTED:
            if first:
                self.told.clear()
            for identity in self.made:
                ranges = self.store.received.get(identity[:2])
                if ranges is not None and identity[2] in ranges:
                    self.told.add(identity)

    def replay(self) -> None:
        if self.recorded:
            self.down.append(self.random.choice(self.recorded))

    def forget(self) -> None:
        for identity in self.store.forget_safe():
            assert identity in self.ground.backup, "forgotten before it was safe"

    def step(self) -> None:
        moves = [
            (self.append, 10), (self.send, 10), (self.deliver_up, 30), (self.deliver_down, 15),
            (self.ground.commit, 6), (self.acks, 8), (self.ground.back_up, 2), (self.forget, 2),
            (self.connect, 1), (self.ground.restart, 1), (self.ground.lose_ledger, 0.3),
            (self.ground.restore, 0.3),
            (self.restart_tail, 1), (self.replay, 3),
        ]  # fmt: skip
        self.now_ns += self.random.choice([0, 10**6, 10**8, 3 * 10**9])
        self.random.choices([m for m, _ in moves], [w for _, w in moves])[0]()

    def restart_tail(self) -> None:
        self.store.boot += 1
        self.sender = Sender(self.store, "n1")
        self.connect()

    def settle(self) -> None:
        """The channel is perfect from here on; everything has to arrive.

        One more record, as there is a state record every minute: its ack shows a lost ledger.
        """
        self.loss = self.repeat = 0.0
        self.made[self.store.append("state", b"still here")] = b"still here"
        for _ in range(2_000):
            self.now_ns += max(10**6, self.sender.wait_ns(self.now_ns))
            self.send()
            while self.up:
                self.deliver_up()
            self.ground.commit()
            self.ground.back_up()
            self.acks()
            while self.down:
                self.deliver_down()
            self.forget()
            if not self.store.records:
                return

    def _copies(self) -> int:
        if self.random.random() < self.loss:
            return 0
        return 2 if self.random.random() < self.repeat else 1

    def _pick(self, queue: list) -> object:  # type: ignore[type-arg]
        return queue.pop(self.random.randrange(len(queue)) if self.loss else 0)


def simulate(seed: int, steps: int = 400) -> World:
    world = World(seed)
    world.connect()
    for _ in range(steps):
        world.step()
    world.settle()
    return world


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
@example(0)
@example(985_834)  # an older ledger restored between a hello and its repetition
@example(784)  # an ack overtaken by one of after the restore
def test_every_record_arrives_once_and_is_kept_until_safe(seed: int) -> None:
    world = simulate(seed)
    assert world.ground.ledger == world.made
    assert world.ground.forks == []
    assert not world.store.records


def check_seeds(count: int) -> None:
    for seed in range(count):
        world = simulate(seed)
        assert world.ground.ledger == world.made and not world.store.records


def test_a_seed_replays() -> None:
    one, two = simulate(7), simulate(7)
    assert one.made == two.made
    assert (one.now_ns, one.sender.bytes_sent) == (two.now_ns, two.sender.bytes_sent)


@pytest.mark.parametrize(
    "fault", ["no resend", "answer takes nothing back", "safe too early", "any nonce"]
)
def test_the_simulation_can_fail(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "no resend":
        monkeypatch.setattr(Sender, "_expire", lambda self, now_ns: None)
    elif fault == "answer takes nothing back":
        apply = MemoryStore.apply_ack
        monkeypatch.setattr(
            MemoryStore, "apply_ack", lambda self, ack, *, answer: apply(self, ack, answer=False)
        )
    elif fault == "any nonce":
        on_ack = Sender.on_ack
        monkeypatch.setattr(
            Sender,
            "on_ack",
            lambda self, ack, now_ns: on_ack(
                self, msgspec.structs.replace(ack, nonce=self._nonce, t_ground_ns=0), now_ns
            ),
        )
        monkeypatch.setattr("shared.sync.sender._takes_back", lambda before, now: False)
    else:
        commit = Receiver.commit

        def commit_and_call_safe(self: Receiver, records: list[tuple[str, int]]) -> None:
            commit(self, records)
            self.mark_all_safe()

        monkeypatch.setattr(Receiver, "commit", commit_and_call_safe)
    with pytest.raises(AssertionError):
        check_seeds(40)
