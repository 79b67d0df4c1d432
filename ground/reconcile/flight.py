"""What the lake holds of one closed flight, gathered for its reconciliation.

In: the ledger's records and the flight's Parquet file. Out: `FlightInputs`.
Always holds: everything that later figures depend on is here and in `inputs` by hash; a record
that cannot be read is counted and said, the others are used; nothing is written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ground.lake.records import Records
from ground.reconcile.result import Finding, Input
from ground.reconcile.rows import PhaseChange
from shared.envelope import PAYLOAD_BYTES_MAX, Envelope
from shared.errors import Rejected, TailTwinError
from shared.messages import Gap, Kpi, State, decode
from shared.signals import SignalSet

KPIS_MAX, STATES_MAX = 20_000, 20_000
"""Records of one flight: 20 h of 8 bundles at one a minute are 9,600."""
SETS_MAX = 4  # of one flight (assumption: a flight is recorded with one)
_READ_BYTES = 1 << 20
T = TypeVar("T", Kpi, State)


@dataclass(frozen=True)
class EsnSeen:
    """At `t_ns` something aboard said that `esn` is at `position`. by: what said so."""

    t_ns: int
    position: int
    esn: str
    by: str


@dataclass(frozen=True)
class FlightInputs:
    """One flight and one revision of its closure."""

    tail: str
    flight: str
    kind: str
    closure_revision: int
    closure_state: str
    gaps: tuple[Gap, ...]
    path: Path
    sets: tuple[SignalSet, ...]
    phases: tuple[PhaseChange, ...]
    esns: tuple[EsnSeen, ...]
    kpis: tuple[Kpi, ...]
    inputs: tuple[Input, ...]
    findings: tuple[Finding, ...] = field(default=())


def read_flight(records: Records, flights: Path, tail: str, flight: str) -> FlightInputs:
    """Gather a flight. flights: folder of the flight files. Rejected when it is not closed or its
    file is not written yet."""
    closed = records.signed_closure(tail, flight)
    if closed is None:
        raise Rejected("not closed yet", flight, "reconcile it when its closure is there")
    path = flights / tail / f"{flight}.parquet"
    if not path.exists():
        raise Rejected("its flight file is not written yet", flight, "the worker writes it")
    closure, signed = closed
    findings: list[Finding] = []
    states, states_sha = _payloads(records, tail, flight, "state", "state/", State, findings)
    kpis, kpis_sha = _payloads(records, tail, flight, "kpi", "kpi/", Kpi, findings)
    found = records.manifest(tail, flight)
    hashes = sets_of_file(path)
    sets = records.signal_sets(hashes)
    inputs = [
        Input("closure", f"revision {closure.revision}", hashlib.sha256(signed).hexdigest()),
        Input("flight_file", path.name, sha256_of(path)),
        Input("states", f"{len(states)} records", states_sha),
        Input("kpis", f"{len(kpis)} records", kpis_sha),
        *(Input("signal_set", sets[x].name, x.hex()) for x in hashes if x in sets),
    ]
    esns = [EsnSeen(t_ns, position, esn, "the state aboard")
            for t_ns, state in states for position, esn in enumerate(state.esns, 1)]  # fmt: skip
    if found is not None:
        manifest, body, _ = found
        inputs.insert(1, Input("manifest", flight, hashlib.sha256(body).hexdigest()))
        esns += [EsnSeen(manifest.closed_ns, position, esn, "the manifest")
                 for position, esn in enumerate(manifest.esns, 1)]  # fmt: skip
    return FlightInputs(
        tail, flight, closure.kind, closure.revision, closure.state, tuple(closure.gaps), path,
        tuple(sets[x] for x in hashes if x in sets),
        tuple(PhaseChange(t_ns, state.phase) for t_ns, state in states), tuple(esns),
        tuple(kpi for _, kpi in kpis), tuple(inputs), tuple(findings),
    )  # fmt: skip


def sets_of_file(path: Path) -> list[bytes]:
    """Hashes of the signal sets that a flight file names in its metadata."""
    import duckdb

    with duckdb.connect() as db:
        try:
            rows = db.execute("select key, value from parquet_kv_metadata(?)", [str(path)])
            known = {bytes(key): bytes(value).decode() for key, value in rows.fetchall()}
            text = known.get(b"signal_set_sha256", "")
            return [bytes.fromhex(x) for x in text.split(",") if x][:SETS_MAX]
        except (duckdb.Error, ValueError) as error:
            raise Rejected(f"not a flight file: {str(error)[:200]}", path.name) from None


def sha256_of(path: Path) -> str:
    """Of a file, hex; read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _payloads(
    records: Records, tail: str, flight: str, cls: str, schema: str, kind: type[T],
    findings: list[Finding],
) -> tuple[list[tuple[int, T]], str]:  # fmt: skip
    """(event time, message) of every readable record, and the hash over all their payloads."""
    limit = KPIS_MAX if cls == "kpi" else STATES_MAX
    digest, found, unreadable = hashlib.sha256(), [], 0
    for envelope in _readable(records, tail, flight, cls, limit):
        if envelope is None:
            unreadable += 1
            continue
        if not envelope.schema.startswith(schema):
            continue
        digest.update(hashlib.sha256(envelope.payload).digest())
        try:
            message = decode(kind, envelope.payload, cls, PAYLOAD_BYTES_MAX)
            found.append((envelope.t_event_ns, message))
        except TailTwinError:
            unreadable += 1
    if unreadable:
        text = f"{unreadable} {cls} records of this flight cannot be read and are left out"
        findings.append(Finding(code="holes", text=text))
    return found, digest.hexdigest()


def _readable(
    records: Records, tail: str, flight: str, cls: str, limit: int
) -> list[Envelope | None]:
    """Envelopes by event time; None at the end when a damaged segment cuts them short."""
    found: list[Envelope | None] = []
    try:
        for envelope in records.of_flight(tail, flight, cls, limit):
            found.append(envelope)  # what came before a damaged one is kept
    except TailTwinError:
        found.append(None)
    return found
