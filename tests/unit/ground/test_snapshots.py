"""What one snapshot may cost the ground."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from ground.lake import snapshots
from ground.lake.snapshots import VALUES_MAX, snapshot_of
from shared.block import Block, encode_block
from shared.messages import Snapshot, encode


class ManyParts:
    """A tail that sent a thousand parts of one alert, each a million values in 135 bytes."""

    def __init__(self) -> None:
        n, width = 1 << 16, 16
        block = Block(
            group="g", set_sha256=bytes(32), period="F", boot=1, mono_t0_ns=0, t_quality=1,
            t_ns=np.arange(n, dtype=np.int64), counter=np.arange(n, dtype=np.int64),
            raw=np.zeros((n, width), np.int64), f64=np.zeros((n, 0)),
            status=np.zeros((n, width), np.uint8), quality=np.zeros((n, width), np.uint8),
        )  # fmt: skip
        part = Snapshot(alert="A", group="g", part=0, block=encode_block(block))
        self.payload = encode(part)
        self.values = n * width

    def of_flight(self, *_: object) -> Iterator[Any]:
        return (SimpleNamespace(schema="snapshot/1", payload=self.payload) for _ in range(1000))

    def signal_sets(self, _: object) -> dict[bytes, Any]:
        return {}


def test_no_more_is_decoded_than_one_answer_may_hold(monkeypatch: Any) -> None:
    records, decoded = ManyParts(), list[Block]()
    decode = snapshots.decode_block
    monkeypatch.setattr(
        snapshots, "decode_block", lambda data: decoded.append(decode(data)) or decoded[-1]
    )
    assert len(records.payload) < 200
    series, unreadable = snapshot_of(records, "T", "F", "A", {"X"})  # type: ignore[arg-type]
    assert len(decoded) == VALUES_MAX // records.values
    assert (series, unreadable) == ([], 1000)
