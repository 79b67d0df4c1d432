"""A ledger in a temporary folder, and how to feed it without a broker."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ground.database import open_reader, open_writer
from ground.ingest.closing import Closing
from ground.ingest.intake import Arrival, examine
from ground.ingest.ledger import Committed, Fault, Ledger
from ground.ingest.segments import Disk, SegmentReader, Segments
from ground.lake.records import Records
from shared.clock import ManualClock
from shared.identity import Signer
from shared.messages import Closure
from tests.unit.ground.synthetic import OPERATOR, Tail

SETTLE_S = 2.0


class Store:
    """Ledger, closing and the read side on one folder; `reopen` is a restart."""

    def __init__(
        self, folder: Path, disk: Disk | None = None, segment_bytes_max: int = 1 << 20,
        fault: Fault = lambda _step: None,
    ) -> None:  # fmt: skip
        self.folder, self.clock = folder, ManualClock()
        self.signer = Signer(Ed25519PrivateKey.generate())
        self._args = (disk, segment_bytes_max, fault)
        self.open()

    def open(self) -> None:
        disk, size, fault = self._args
        self.segments = Segments(self.folder / "segments", size, disk)
        self.engine = open_writer(self.folder / "ledger.db")
        self.reader = SegmentReader(self.folder / "segments")
        self.ledger = Ledger(self.engine, self.segments, self.reader, self.clock, fault)
        self.closing = Closing(self.ledger, self.signer, OPERATOR, self.clock, int(SETTLE_S * 1e9))
        self.read_engine = open_reader(self.folder / "ledger.db")
        self.records = Records(self.read_engine, self.reader)

    def close(self) -> None:
        self.segments.close()
        self.reader.close()
        self.engine.dispose()
        self.read_engine.dispose()

    def reopen(self) -> None:
        self.close()
        self.open()

    def put(self, tail: Tail, *messages: tuple[str, bytes]) -> Committed:
        return self.ledger.commit(arrivals(tail, *messages))

    def close_due(self, after_s: float = 0.0) -> list[Closure]:
        self.clock.advance_s(after_s)
        return self.closing.close_due()


def arrivals(tail: Tail, *messages: tuple[str, bytes]) -> list[Arrival]:
    found = [
        examine(name, data, OPERATOR, {tail.tail: tail.signer.public}) for name, data in messages
    ]
    assert all(isinstance(one, Arrival) for one in found), found
    return [one for one in found if isinstance(one, Arrival)]


def verdicts(committed: Committed) -> list[str]:
    return [verdict.value for _, verdict in committed.verdicts]
