"""What was flown, as inputs of engine models: all that calibration takes from a flight.

In: closed flights of a tail in the lake. Out: `Flown` by engine. Always holds: only the signals that
the bundle has as inputs are read; an engine whose ESN was another in that flight is left out and
said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ground.calibrate.calibrate import Flown
from ground.lake.records import Records
from ground.reconcile.flight import FlightInputs, read_flight
from ground.reconcile.rows import Binding, rows_of_file
from shared.bundle import Bundle, Instance
from shared.errors import Rejected

FLIGHTS_MAX = 20


def flights_of(records: Records, tail: str, named: Sequence[str]) -> list[str]:
    """The flights named, or the newest closed ones of the tail; Rejected when there is none."""
    if len(named) > FLIGHTS_MAX:
        raise Rejected(f"{len(named)} flights", "--flights", f"at most {FLIGHTS_MAX}")
    known = {row.flight: row for row in records.flights(tail) if row.kind == "flight"}
    unknown = [flight for flight in named if flight not in known]
    if unknown:
        raise Rejected(f"{tail} has no flight {unknown[0]}", "--flights",
                       "list them with `tailtwin-ground flights`")  # fmt: skip
    closed = [flight for flight, row in known.items() if row.state in ("complete", "gaps")]
    chosen = list(dict.fromkeys(named)) or closed[:FLIGHTS_MAX]
    if not chosen:
        raise Rejected("no flight is closed yet", tail, "fly one, and wait for its closure")
    return chosen


def read_flown(
    records: Records, files: Path, tail: str, flights: Sequence[str], bundle: Bundle
) -> tuple[list[Flown], list[str]]:
    """(inputs by engine and flight, what was left out and why)."""
    flown, notes = [], []
    for flight in flights:
        found = read_flight(records, files, tail, flight)
        bindings = {x.position: _binding(x) for x in bundle.instances}
        rows = rows_of_file(found.path, found.sets, bindings.values())
        for instance in bundle.instances:
            other = _other_esn(found, instance)
            if other:
                notes.append(f"{flight}: position {instance.position} had ESN {other}, left out")
                continue
            columns = rows.of(bindings[instance.position])
            inputs = {name: columns[name] for name in instance.inputs}
            flown.append(Flown(flight, found.closure_revision, instance.esn, inputs))
    return flown, notes


def _binding(instance: Instance) -> Binding:
    """Inputs only: the outputs' signals are left empty, so that no sensor is even read."""
    names = dict.fromkeys(Binding.__struct_fields__, "")
    names.pop("position")
    unknown = set(instance.inputs) - set(names)
    if unknown:
        raise Rejected(f"the full-fidelity model has no input {sorted(unknown)[0]!r}",
                       f"ESN {instance.esn}", "a ROM of the turbofan has its inputs")  # fmt: skip
    return Binding(position=instance.position, **{**names, **instance.inputs})


def _other_esn(found: FlightInputs, instance: Instance) -> str:
    seen = {x.esn for x in found.esns if x.position == instance.position}
    return ", ".join(sorted(seen - {instance.esn}))
