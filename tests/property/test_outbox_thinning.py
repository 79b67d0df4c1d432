"""Whatever is appended, acknowledged, maintained and reopened: each record is held, safe, or named;
alerts outlive blocks; and a block that is gone is whole, thinner by name, or dropped by name."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.outbox.keyring import Keyring
from edge.outbox.store import Outbox
from shared.block import decode_block
from shared.clock import ManualClock
from shared.envelope import Envelope, open_envelope
from shared.messages import Ack, Coverage, Drop, decode
from tests.unit.edge.outbox.blocks import block, put_block

RATES = {"fast": 50, "mid": 8, "one": 1}
SIZE = 1 << 20

steps = st.lists(
    st.one_of(
        st.tuples(st.just("blocks"), st.integers(5, 40)),
        st.tuples(st.just("alerts"), st.integers(1, 30)),
        st.tuples(st.just("maintain"), st.integers(1, 30)),
        st.tuples(st.just("receive"), st.integers(0, 100)),
        st.tuples(st.just("safe"), st.integers(0, 100)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    min_size=3, max_size=25,
)  # fmt: skip


class Life:
    """One outbox through all its opens; next_number: of the next block of every group."""

    def __init__(self, folder: Path) -> None:
        self._path, self._numbers, self._next_number = folder / "outbox.db", count(1), 0
        self.safe: dict[str, int] = {}
        self.open()

    def open(self) -> None:
        self.outbox = Outbox.open(
            self._path, operator="op", tail="n1", clock=ManualClock(), bytes_max=SIZE,
            random=lambda n: next(self._numbers).to_bytes(n), keyring=Keyring(b"d" * 32),
        )  # fmt: skip

    def do(self, what: str, amount: int) -> None:
        outbox = self.outbox
        if what == "blocks":
            for number in range(self._next_number, self._next_number + amount):
                with outbox.transaction():  # one sync
                    for group, hz in RATES.items():
                        put_block(outbox, block(group, hz, number))
            self._next_number += amount
        elif what == "alerts":
            with outbox.transaction():
                for _ in range(amount):
                    outbox.append(
                        "alert", bytes(200), schema="t/1", flight="f", t_event_ns=1, t_quality=1
                    )
        elif what == "maintain":
            for _ in range(amount):
                outbox.maintain()
        elif what == "reopen":
            outbox.close()
            self.open()
        else:
            told = {s: n * amount // 100 for s, n in outbox.next_seqs().items() if s != "drop"}
            cover = {s: Coverage(n) for s, n in told.items()}
            if what == "safe":
                self.safe = {s: max(n, self.safe.get(s, 0)) for s, n in told.items()}
            safe = cover if what == "safe" else {}
            outbox.apply_ack(Ack(1, "n1", outbox.epoch, "l", b"", cover, safe, 0), answer=False)

    def held(self) -> dict[tuple[str, int], Envelope]:
        found = {}
        for one in self.outbox.records():
            data = self.outbox.sealed(one)
            assert data is not None
            found[one.stream, one.seq] = open_envelope(data)
        return found


@given(steps)
@example([("alerts", 9), *[("blocks", 20), ("maintain", 30)] * 4, ("reopen", 0), ("blocks", 40)])
@settings(max_examples=12, deadline=None)
def test_every_record_is_held_or_safe_or_named_and_alerts_outlive_blocks(
    script: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for what, amount in script:
            life.do(what, amount)
        held, safe = life.held(), life.safe
        named: dict[tuple[str, int], str] = {}
        for (stream, _), envelope in held.items():
            if stream == "drop":
                drop = decode(Drop, envelope.payload, "drop", 1 << 20)
                for seq in range(drop.low, drop.high):
                    assert (drop.stream, seq) not in named, "named once"
                    named[drop.stream, seq] = drop.reason
        for stream, next_seq in life.outbox.next_seqs().items():
            for seq in range(next_seq):
                key = (stream, seq)
                assert (key in held) + (key in named) <= 1
                assert key in held or key in named or seq < safe.get(stream, 0), key
        if any(stream == "alert" for stream, _ in named):
            assert not any(stream.endswith(tuple(RATES)) for stream, _ in held)
        for (stream, seq), envelope in held.items():
            if not stream.startswith("thin"):
                continue
            thin = decode_block(envelope.payload)
            assert stream == f"thin{thin.keep_every}-{thin.group}"
            assert (thin.counter % thin.keep_every == 0).all()
            for epoch, replaced, at in thin.replaces:
                assert epoch == envelope.epoch and (replaced, at) not in held, (stream, seq)
                assert named[replaced, at].startswith("thinned to 1 of ")
            assert thin.group != "one", "1 Hz is never thinned"
        life.outbox.close()
