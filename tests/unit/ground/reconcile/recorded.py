"""Flight files made without an aircraft: a signal set, a Parquet file, `FlightInputs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np

from bench.readings import T0_NS
from ground.reconcile.flight import EsnSeen, FlightInputs, sha256_of
from ground.reconcile.result import Input
from ground.reconcile.rows import PhaseChange, Rows
from shared.messages import Gap, Kpi
from shared.signals import SignalSet, parse_signal_set

ESNS = ("894101", "894102")
SCALE = 0.001  # raw integers fine enough that a file does not add noise of its own
UNITS = {"N1": "%", "N2": "%", "EGT": "Cel", "FF": "kg/h", "BLEED": "1", "AI": "1"}
AIR = {"AIR_MACH": "1", "AIR_ALT": "[ft_i]", "AIR_TAT": "Cel"}


def set_of(units: Mapping[str, str] | None = None, leave_out: str = "") -> SignalSet:
    """Signals of two engines and the air. units: instead of the usual ones, by signal."""
    names = {f"ENG{n}_{x}": unit for n in (1, 2) for x, unit in UNITS.items()} | AIR
    names |= units or {}
    lines = [
        f'  {{ name = "{name}", unit = "{unit}", scale = {SCALE} }},'
        for name, unit in names.items()
        if name != leave_out
    ]
    text = (
        'name = "two"\nversion = 1\nairframe = "B737"\n[[group]]\nname = "all"\nrate_hz = 1.0\n'
        "block_s = 30.0\nsignal = [\n" + "\n".join(lines) + "\n]\n"
    )
    return parse_signal_set(text.encode(), "test")


def write_file(
    path: Path, rows: Sequence[Rows], hole: slice | None = None, quality: int = 0
) -> None:
    """The rows of several engines as one flight file. hole: seconds left out, or of `quality`."""
    columns = {name: x for one in rows for name, x in one.columns.items()}
    t_ns = rows[0].t_ns
    lost = np.zeros(len(t_ns), np.bool_)
    if hole is not None:
        lost[hole] = True
    with duckdb.connect() as db:
        db.execute("create table samples (signal varchar, t_ns bigint, raw bigint, q utinyint)")
        for name in sorted(columns):
            raw = np.rint(columns[name] / SCALE).astype(np.int64)
            q = np.where(lost, quality, 0).astype(np.uint8)
            kept = ~lost if quality == 0 else np.ones(len(t_ns), np.bool_)
            fresh = {"t": t_ns[kept], "r": raw[kept], "q": q[kept]}
            db.register("fresh", fresh)
            db.execute("insert into samples select ?, t, r, q from fresh", [name])
            db.unregister("fresh")
        db.execute(
            f"copy (select signal, t_ns, raw, q as quality from samples) to '{path}' "  # noqa: S608  # a path of the test
            "(format parquet, kv_metadata {flight: 'F'})"
        )


def inputs_of(
    path: Path, rows: Rows, sets: Sequence[SignalSet], kpis: Sequence[Kpi] = (),
    esns: Sequence[EsnSeen] | None = None, kind: str = "flight", gaps: Sequence[Gap] = (),
) -> FlightInputs:  # fmt: skip
    """As read_flight would gather them."""
    change = np.flatnonzero(rows.phase[1:] != rows.phase[:-1]) + 1
    phases = tuple(
        PhaseChange(int(rows.t_ns[i]), str(rows.phase[i])) for i in (0, *change.tolist())
    )
    if esns is None:
        esns = [EsnSeen(T0_NS, n, esn, "the state aboard") for n, esn in enumerate(ESNS, 1)]
    return FlightInputs(
        "B737-28001", "F", kind, 1, "gaps" if gaps else "complete", tuple(gaps), path,
        tuple(sets), phases, tuple(esns), tuple(kpis), (Input("flight_file", path.name, sha256_of(path)),),
    )  # fmt: skip
