"""The simulation of test_sync with the real outbox under the sender, closed and opened at random."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.outbox.store import Outbox
from shared.clock import ManualClock
from shared.sync.ranges import RangeSet
from shared.sync.sender import Sender
from tests.property.test_sync import World


class OutboxStore(Outbox):
    """What the simulation asks of a store, in the outbox's terms."""

    def append(self, cls: str, payload: bytes, stream: str | None = None) -> tuple[str, str, int]:  # type: ignore[override]
        ref = super().append(
            cls, payload, stream=stream, schema="test/1", flight="f1", t_event_ns=0, t_quality=0
        )
        return (ref.epoch, ref.stream, ref.seq)

    @property
    def received(self) -> dict[tuple[str, str], RangeSet]:
        return {key: stream.received for key, stream in self._streams.all.items()}

    @property
    def records(self) -> int:
        """Held and not safe: the cache does not count."""
        return sum(self.stats().depth.values())

    def forget_safe(self) -> list[tuple[str, str, int]]:
        """Nothing is deleted; say what would be the first to go."""
        return [
            (stream.epoch, stream.name, seq)
            for stream in self._streams.all.values()
            for low, high in stream.safe
            for seq in range(low, high)
        ]


class OutboxWorld(World):
    """The tail's store is a file."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.folder = folder
        super().__init__(seed)
        self._open()

    def _open(self) -> None:
        self.store = OutboxStore.open(  # type: ignore[assignment]
            self.folder / "outbox.db", operator="op", tail="n1", clock=ManualClock(),
            random=self.random.randbytes, bytes_max=64 << 20,
        )  # fmt: skip
        self.store._db.execute("PRAGMA synchronous = off")  # type: ignore[attr-defined]  # a simulation
        self.sender = Sender(self.store, "n1")

    def restart_tail(self) -> None:
        self.store._db.close(True)  # type: ignore[attr-defined]
        self._open()
        self.connect()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
@example(0)
def test_every_record_of_an_outbox_arrives_once_and_is_kept_until_safe(seed: int) -> None:
    folder = Path(tempfile.mkdtemp())
    world = OutboxWorld(seed, folder)
    try:
        world.connect()
        for _ in range(200):
            world.step()
        world.settle()
        assert world.ground.ledger == world.made
        assert world.ground.forks == []
        assert world.store.records == 0
    finally:
        world.store._db.close(True)  # type: ignore[attr-defined]
        shutil.rmtree(folder)
