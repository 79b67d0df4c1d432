"""Index: what one record adds to the tables beside its own row.

In: a checked arrival and the signal sets known so far. Out: rows by table and the record's
mark. Always holds: a payload that cannot be read is kept and marked, never an error; a block's
summary counts good and suspect samples only, in engineering values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import Table

from ground.ingest import schema
from ground.ingest.intake import Arrival
from shared.block import Block, decode_block
from shared.envelope import PAYLOAD_BYTES_MAX, SEQ_MAX, Envelope
from shared.errors import ConfigError, Corrupt, Rejected
from shared.identity import Signed
from shared.messages import Alert, Audit, Drop, State, decode
from shared.signals import Group, Signal, SignalSet, unpack_signal_set
from shared.sync.ranges import RangeSet
from shared.topics import check_identifier

SET_SCHEMA = "signal-set/1"
BLOCK_SPAN_NS_MAX = 3_600_000_000_000
"""A block is 10 to 30 s; one over an hour is no block (it would slow every query down)."""
FORK, NO_SET, CORRUPT = "fork", "no_set", "corrupt"
F64 = npt.NDArray[np.float64]
Row = dict[str, Any]


class Dropped(NamedTuple):
    """What a drop record names. epoch: of the dropped records, not of the drop record."""

    epoch: str
    stream: str
    low: int
    high: int


class Sets(Protocol):
    """Where signal sets are looked up by hash."""

    def get(self, sha256: bytes, /) -> SignalSet | None: ...


@dataclass(slots=True)
class Entry:
    """mark: '' when all was read. problem: for the log when it was not."""

    rows: list[tuple[Table, Row]] = field(default_factory=list)
    mark: str = ""
    problem: str = ""
    drop: Dropped | None = None
    signal_set: SignalSet | None = None


def index(arrival: Arrival, sets: Sets) -> Entry:
    """Rows that one new record adds, by its class."""
    envelope = arrival.envelope
    try:
        if envelope.cls == "block":
            return _block(envelope, sets)
        if envelope.cls == "state" and envelope.schema == SET_SCHEMA:
            return _signal_set(envelope)
        if envelope.cls == "manifest":
            return _manifest(arrival)
        return _message(envelope)
    except (Rejected, Corrupt, ConfigError) as error:
        return Entry(mark=CORRUPT, problem=error.what)
    except Exception as error:  # what one payload does to us must not stop the fleet's records
        return Entry(mark=CORRUPT, problem=f"bug: {error!r:.200}")


def identity_row(envelope: Envelope) -> Row:
    return {
        "tail": envelope.tail,
        "epoch": envelope.epoch,
        "stream": envelope.stream,
        "seq": envelope.seq,
    }


def _message(envelope: Envelope) -> Entry:
    where, payload = envelope.cls, envelope.payload
    row = identity_row(envelope)
    row.update(t_event_ns=envelope.t_event_ns, payload=payload)
    if envelope.cls == "alert":
        alert = decode(Alert, payload, where, PAYLOAD_BYTES_MAX)
        row.update(id=alert.id[:64], flight=envelope.flight)
        return Entry([(schema.alerts, row)])
    if envelope.cls == "audit":
        audit = decode(Audit, payload, where, PAYLOAD_BYTES_MAX)
        row.update(kind=audit.kind[:32])
        return Entry([(schema.audits, row)])
    if envelope.cls == "state":
        decode(State, payload, where, PAYLOAD_BYTES_MAX)
        row.pop("stream")
        return Entry([(schema.states, row)])
    if envelope.cls == "drop":
        drop = decode(Drop, payload, where, PAYLOAD_BYTES_MAX)
        check_identifier(drop.stream, "drop: stream")
        if not 0 <= drop.low < drop.high <= SEQ_MAX + 1:
            raise Rejected(f"drop of [{drop.low}, {drop.high})", where)
        epoch = check_identifier(drop.epoch or envelope.epoch, "drop: epoch")
        row = {
            "tail": envelope.tail, "epoch": epoch, "stream": drop.stream, "low": drop.low,
            "high": drop.high, "reason": drop.reason[:64],
        }  # fmt: skip
        return Entry([(schema.drops, row)], drop=Dropped(epoch, drop.stream, drop.low, drop.high))
    return Entry()


def _manifest(arrival: Arrival) -> Entry:
    manifest = arrival.manifest
    assert manifest is not None
    row = identity_row(arrival.envelope)
    row.update(
        flight=manifest.flight, kind=manifest.kind, opened_ns=manifest.opened_ns,
        closed_ns=manifest.closed_ns, body=arrival.manifest_body,
        signed=arrival.envelope.payload,
    )  # fmt: skip
    parts: dict[tuple[str, str], RangeSet] = {}
    for part in manifest.parts:
        parts.setdefault((part.epoch, part.stream), RangeSet()).add_range(part.low, part.high)
    named = [
        {"tail": manifest.tail, "epoch": epoch, "stream": stream, "low": low, "high": high,
         "flight": manifest.flight}
        for (epoch, stream), ranges in parts.items() for low, high in ranges
    ]  # fmt: skip
    return Entry([(schema.manifests, row), *((schema.parts, part) for part in named)])


def _signal_set(envelope: Envelope) -> Entry:
    signal_set = unpack_signal_set(envelope.payload, envelope.codec, SET_SCHEMA)
    row = {
        "sha256": signal_set.sha256, "name": signal_set.name, "version": signal_set.version,
        "text": signal_set.text,
    }  # fmt: skip
    of_tail: Row = {"tail": envelope.tail, "sha256": signal_set.sha256}
    return Entry([(schema.signal_sets, row), (schema.tail_sets, of_tail)], signal_set=signal_set)


def _block(envelope: Envelope, sets: Sets) -> Entry:
    block = decode_block(envelope.payload)
    t0, t1 = int(block.t_ns.min()), int(block.t_ns.max())
    if t1 - t0 > BLOCK_SPAN_NS_MAX or abs(t0) >= 1 << 62 or abs(t1) >= 1 << 62:
        raise Corrupt(f"spans {(t1 - t0) / 1e9:.0f} s", "block")
    check_identifier(block.group, "block: group")
    row = identity_row(envelope)
    row.update(
        flight=envelope.flight, grp=block.group, set_sha256=block.set_sha256, t0_ns=t0, t1_ns=t1,
        n=block.n, summary=b"",
    )  # fmt: skip
    replaced = [(schema.thinned, one) for one in replaced_rows(envelope, block)]
    signal_set = sets.get(block.set_sha256)
    if signal_set is None:
        return Entry([(schema.blocks, row), *replaced], NO_SET, "its signal set is not known yet")
    row["summary"] = summarise(block, signal_set).tobytes()
    last = int(block.t_ns.argmax())
    last_row = {
        "tail": envelope.tail, "grp": block.group, "set_sha256": block.set_sha256, "t_ns": t1,
        "raw": block.raw[last].tobytes(), "f64": block.f64[last].tobytes(),
        "quality": block.quality[last].tobytes(),
    }  # fmt: skip
    return Entry([(schema.blocks, row), (schema.last_values, last_row), *replaced])


def replaced_rows(envelope: Envelope, block: Block) -> list[Row]:
    """One row for each record that a thinned block stands for."""
    return [
        {"tail": envelope.tail, "epoch": epoch, "stream": stream, "seq": seq,
         "by_epoch": envelope.epoch, "by_stream": envelope.stream, "by_seq": envelope.seq,
         "keep_every": block.keep_every}
        for epoch, stream, seq in block.replaces
    ]  # fmt: skip


def group_of(block: Block, signal_set: SignalSet) -> Group:
    """The group of a block; Corrupt when the block does not fit its set."""
    if block.group not in signal_set.group_index:
        raise Corrupt(f"no group {block.group!r} in its signal set", "block")
    group = signal_set.group(block.group)
    n_f64 = int(group.is_f64.sum())
    if (block.raw.shape[1], block.f64.shape[1]) != (len(group.signal) - n_f64, n_f64):
        raise Corrupt(f"columns do not fit group {block.group!r}", "block")
    return group


def column_of(block: Block, group: Group, position: int) -> npt.NDArray[Any]:
    """What the bus carried of one signal: int64, or float64 where that is its encoding."""
    floats_before = sum(s.encoding == "f64" for s in group.signal[:position])
    if group.signal[position].encoding == "f64":
        return block.f64[:, floats_before]
    return block.raw[:, position - floats_before]


def engineering(raw: npt.NDArray[Any], signal: Signal) -> F64:
    """scale times raw plus offset; a float64 is the value itself."""
    if signal.encoding == "f64":
        return raw.astype(np.float64)
    values: F64 = raw * signal.scale + signal.offset
    return values


def summarise(block: Block, signal_set: SignalSet) -> F64:
    """(min, max, sum, n) of each signal of the group, shape (signals, 4); (inf, -inf, 0, 0)
    where no sample is good or suspect."""
    group = group_of(block, signal_set)
    values = np.empty((block.n, len(group.signal)))
    values[:, ~group.is_f64] = block.raw
    values[:, group.is_f64] = block.f64
    scale = [1.0 if s.encoding == "f64" else s.scale for s in group.signal]
    offset = [0.0 if s.encoding == "f64" else s.offset for s in group.signal]
    values = values * np.array(scale) + np.array(offset)
    used = ((block.quality & 3) <= 1) & np.isfinite(values)
    return np.column_stack(
        (
            np.where(used, values, np.inf).min(axis=0),
            np.where(used, values, -np.inf).max(axis=0),
            np.where(used, values, 0.0).sum(axis=0),
            used.sum(axis=0),
        )
    )


def signed_key_id(data: bytes) -> str:
    """Key id that a signed message names; empty when it is not one."""
    try:
        return msgspec.msgpack.decode(data, type=Signed).key_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
