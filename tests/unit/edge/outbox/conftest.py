"""An outbox in a fresh folder, with counted randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from edge.outbox.store import Outbox
from shared.clock import ManualClock

Open = Callable[..., Outbox]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def open_outbox(path: Path) -> Iterator[Open]:
    numbers = count(1)
    opened: list[Outbox] = []

    def make(bytes_max: int = 64 << 20, tail: str = "n1") -> Outbox:
        outbox = Outbox.open(
            path, operator="op", tail=tail, clock=ManualClock(),
            random=lambda n: next(numbers).to_bytes(n), bytes_max=bytes_max,
        )  # fmt: skip
        opened.append(outbox)
        return outbox

    yield make
    for outbox in opened:
        outbox._db.close(True)
