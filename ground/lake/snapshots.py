"""Snapshots of alerts: the readings around one, by signal, before the bulk of the flight is here.

In: the snapshot records of a period. Out: series of engineering values by signal.
Always holds: a part that does not decode, whose signal set is unknown, or that comes after
VALUES_MAX values, is left out and counted; only signals that may be shown come out.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ground.ingest.index import column_of, engineering
from ground.lake.query import Raw, Series
from ground.lake.records import Records
from shared.block import Block, decode_block
from shared.envelope import PAYLOAD_BYTES_MAX
from shared.errors import TailTwinError
from shared.messages import Snapshot, decode

RECORDS_MAX = 2000  # of class report in one period; assumption
VALUES_MAX = 4 << 20  # of one snapshot: 32 MiB; 135 bytes can hold a million of them; assumption


def snapshot_of(
    records: Records, tail: str, flight: str, alert: str, shown: Collection[str]
) -> tuple[list[Series], int]:
    """The series of one alert by id, and how many parts could not be read."""
    blocks: dict[str, list[Block]] = {}
    unreadable = values = 0
    for envelope in records.of_flight(tail, flight, "report", RECORDS_MAX):
        if envelope.schema != "snapshot/1":
            continue
        try:
            part = decode(Snapshot, envelope.payload, "snapshot", PAYLOAD_BYTES_MAX)
            if part.alert != alert:
                continue
            block = decode_block(part.block) if values < VALUES_MAX else None
            if block is None:
                unreadable += 1
            else:
                blocks.setdefault(part.group, []).append(block)
                values += block.quality.size
        except TailTwinError:
            unreadable += 1
    found: list[Series] = []
    for group, parts in sorted(blocks.items()):
        series = _series(records, group, parts, shown)
        unreadable += len(parts) if series is None else 0
        found += series or []
    return found, unreadable


def _series(
    records: Records, name: str, parts: list[Block], shown: Collection[str]
) -> list[Series] | None:
    """None when the signal set of a part is not here, or has another group of that name."""
    hashes = {part.set_sha256 for part in parts}
    known = records.signal_sets(sorted(hashes))
    if len(hashes) != 1 or not known or name not in next(iter(known.values())).group_index:
        return None
    group = next(iter(known.values())).group(name)
    if any(part.quality.shape[1] != len(group.signal) for part in parts):
        return None
    parts.sort(key=lambda part: int(part.t_ns[0]))
    t_ns = np.concatenate([part.t_ns for part in parts])
    found = []
    for i, signal in enumerate(group.signal):
        if signal.name in shown:
            quality = np.concatenate([part.quality[:, i] for part in parts])
            value = np.concatenate(
                [engineering(column_of(part, group, i), signal) for part in parts]
            )
            found.append(
                Series(signal, Raw(t_ns, np.where((quality & 3) <= 1, value, np.nan), quality))
            )
    return found
