"""Figures: what is held, and what of it the ground has still to get.

In: the streams and their rows. Out: counts, bytes, event times. Nothing is changed. Locked
records are counted apart: nobody aboard can send them.
"""

from __future__ import annotations

import apsw

from edge.outbox import rows
from edge.outbox.streams import Streams
from edge.outbox.values import OutboxStats
from shared.topics import CLASSES


def stats(
    db: apsw.Connection, streams: Streams, size_bytes: int, evicted_unsafe: int, thinned: int
) -> OutboxStats:
    """Looks at one row a stream."""
    depth = dict.fromkeys(CLASSES, 0)
    first: list[int] = []
    for stream in streams.all.values():
        unsafe = stream.unsafe()
        depth[stream.cls] += unsafe.size
        if unsafe:
            first.append(stream.record_id(next(iter(unsafe))[0]))
    times = [rows.event_time_ns(db, number) for number in first]
    return OutboxStats(
        sum(stream.held.size for stream in streams.all.values()), size_bytes, depth,
        min(times, default=None), evicted_unsafe, thinned, streams.locked,
    )  # fmt: skip


def unsafe_by_class(db: apsw.Connection, streams: Streams) -> dict[str, tuple[int, int, int]]:
    """Records, bytes, earliest event time (0: none) of each class. Reads a row a record."""
    found = dict.fromkeys(CLASSES, (0, 0, 0))
    for stream in streams.all.values():
        if not (unsafe := stream.unsafe()):
            continue
        size, oldest_ns = rows.weigh(db, stream, unsafe)
        records, before, other_ns = found[stream.cls]
        times = [t_ns for t_ns in (oldest_ns, other_ns) if t_ns]
        found[stream.cls] = records + unsafe.size, before + size, min(times, default=0)
    return found
