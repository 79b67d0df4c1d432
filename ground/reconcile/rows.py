"""A flight as rows of one second: what every comparison on the ground stands on.

In: the flight file, its signal set, phases by time. Out: `Rows`, in the units of the models.
Always holds: a row holds means of GOOD samples only, NaN where a second has none, and the count
beside it; seconds that nobody recorded are rows too, so that a hole is seen and not closed up; a
signal whose unit does not convert is left out and named, the others are not touched by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt

from shared.errors import Rejected, TailTwinError
from shared.quality import Quality
from shared.signals import Signal, SignalSet
from shared.units import parse_unit

ROW_NS = 1_000_000_000
ROWS_MAX = 40 * 3600
"""Of one flight: 40 h, twice the longest airliner flight (assumption)."""
DUCKDB_MEMORY = "256MB"  # as in ground/lake/flights.py
UNITS = {"n1": "%", "n2": "%", "egt": "Cel", "ff": "kg/h", "bleed": "1", "anti_ice": "1",
         "mach": "1", "altitude": "[ft_i]", "tat": "Cel"}  # fmt: skip
"""What the engine models take and give, by quantity; UCUM."""
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signals of one engine position. A missing one is an empty name."""

    position: int
    n1: str
    n2: str
    egt: str
    ff: str
    bleed: str
    anti_ice: str
    mach: str
    altitude: str
    tat: str

    @property
    def signals(self) -> dict[str, str]:
        """Signal by quantity."""
        return {name: getattr(self, name) for name in UNITS}


def binding_of(position: int) -> Binding:
    """The names of an engine's signals as the airframes here have them (`ENG{n}_EGT`)."""
    head = f"ENG{position}_"
    return Binding(
        position=position, n1=head + "N1", n2=head + "N2", egt=head + "EGT", ff=head + "FF",
        bleed=head + "BLEED", anti_ice=head + "AI", mach="AIR_MACH", altitude="AIR_ALT",
        tat="AIR_TAT",
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rows:
    """Seconds of one flight, without a gap: t_ns[i + 1] - t_ns[i] is always one second."""

    t_ns: Int64
    """Middle of each second, event time."""
    columns: dict[str, Float64]
    """By signal name, [n], in the unit of the quantity it is bound to."""
    good: dict[str, Int64]
    """Good samples in each second, [n]."""
    phase: npt.NDArray[np.str_]
    refused: dict[str, str] = field(default_factory=dict)
    """Signals that could not be used, and why."""

    def __len__(self) -> int:
        return len(self.t_ns)

    def of(self, binding: Binding) -> dict[str, Float64]:
        """Columns by quantity; NaN where a signal is not here."""
        none = np.full(len(self), np.nan)
        return {name: self.columns.get(signal, none) for name, signal in binding.signals.items()}

    def counts(self, binding: Binding) -> dict[str, int]:
        """Rows with at least one good sample, by quantity."""
        none = np.zeros(len(self), np.int64)
        return {name: int(np.count_nonzero(self.good.get(signal, none)))
                for name, signal in binding.signals.items()}  # fmt: skip


class PhaseChange(msgspec.Struct, frozen=True):
    """From `t_ns` on the phase is `phase`."""

    t_ns: int
    phase: str


def rows_of_file(
    path: Path, sets: Sequence[SignalSet], bindings: Iterable[Binding],
    phases: Sequence[PhaseChange] = (),
) -> Rows:  # fmt: skip
    """Rows of a flight file. Rejected when it cannot be read or is longer than ROWS_MAX.

    sets: those the flight was recorded with; a signal that two of them scale differently is
    refused by name.
    """
    conversions: dict[str, Conversion] = {}
    refused: dict[str, str] = {}
    for binding in bindings:
        for quantity, name in binding.signals.items():
            try:
                conversions[name] = conversion_of(name, UNITS[quantity], sets)
            except TailTwinError as error:
                refused[name] = error.what
    second, signal, mean, count = _read(path, sorted(conversions))
    if not len(second):
        return Rows(np.zeros(0, np.int64), {}, {}, np.zeros(0, "U1"), refused)
    first, n = int(second.min()), int(second.max() - second.min()) + 1
    if n > ROWS_MAX:
        raise Rejected(f"{n} s from first to last sample, over the cap of {ROWS_MAX}", path.name)
    t_ns = (first + np.arange(n, dtype=np.int64)) * ROW_NS + ROW_NS // 2
    columns, good = {}, {}
    for name, conversion in conversions.items():
        here = signal == name
        columns[name], good[name] = np.full(n, np.nan), np.zeros(n, np.int64)
        columns[name][second[here] - first] = conversion(mean[here])
        good[name][second[here] - first] = count[here]
        if not here.any():
            refused[name] = f"no sample of {name} in this flight"
    return Rows(t_ns, columns, good, phases_at(phases, t_ns), refused)


def phases_at(phases: Sequence[PhaseChange], t_ns: Int64) -> npt.NDArray[np.str_]:
    """The phase at each time; `unknown` before the first change."""
    if not phases:
        return np.full(len(t_ns), "unknown")
    ordered = sorted(phases, key=lambda x: x.t_ns)
    names = np.array(["unknown", *(x.phase for x in ordered)])
    return names[np.searchsorted([x.t_ns for x in ordered], t_ns, "right")]


@dataclass(frozen=True)
class Conversion:
    """raw to the model's unit: factor * raw + offset."""

    factor: float
    offset: float

    def __call__(self, raw: Float64) -> Float64:
        return self.factor * raw + self.offset


def conversion_of(name: str, unit: str, sets: Sequence[SignalSet]) -> Conversion:
    """Rejected: no set has the signal, its unit does not measure the same, or sets disagree."""
    found = {_conversion(s.signal(name), unit) for s in sets if name in s.position}
    if not found:
        raise Rejected(f"no signal {name} in the signal set", name)
    if len(found) > 1:
        raise Rejected(f"{name} is scaled differently in two signal sets of one flight", name)
    return found.pop()


def _conversion(signal: Signal, unit: str) -> Conversion:
    given, wanted = parse_unit(signal.unit, signal.name), parse_unit(unit, signal.name)
    if given.dimension != wanted.dimension:
        raise Rejected(
            f"{signal.name} is in {signal.unit!r}, which is no {unit!r}", signal.name,
            "correct the signal set",
        )  # fmt: skip
    scale, offset = (1.0, 0.0) if signal.encoding == "f64" else (signal.scale, signal.offset)
    factor = 1.0 if given.same_as(wanted) else given.factor / wanted.factor
    zero = 0.0 if given.same_as(wanted) else (given.zero - wanted.zero) / wanted.factor
    if signal.true_is == "low":  # a discrete that is 0 when it is on
        return Conversion(-scale, 1.0 - offset)
    return Conversion(factor * scale, factor * offset + zero)


def _read(
    path: Path, names: list[str]
) -> tuple[Int64, npt.NDArray[np.object_], Float64, Int64]:  # fmt: skip
    """(second, signal, mean raw value, count) of good samples."""
    with duckdb.connect() as db:
        try:
            db.execute(f"set memory_limit = '{DUCKDB_MEMORY}'")
            known = {row[0] for row in db.execute(
                "select name from parquet_schema(?)", [str(path)]).fetchall()}  # fmt: skip
            value = "coalesce(f64, raw)" if "f64" in known else "raw"
            found = db.execute(
                f"select t_ns // {ROW_NS} as s, signal, avg({value}) as mean, count(*) as n "  # noqa: S608  # fixed text
                f"from read_parquet(?) where list_contains(?, signal) and quality = "
                f"{int(Quality.GOOD)} and isfinite({value}::double) group by all",
                [str(path), names],
            ).fetchnumpy()
        except duckdb.Error as error:
            raise Rejected(f"not a flight file: {str(error)[:200]}", path.name) from None
    return (
        np.asarray(found["s"], np.int64), np.asarray(found["signal"]),
        np.asarray(found["mean"], np.float64), np.asarray(found["n"], np.int64),
    )  # fmt: skip
