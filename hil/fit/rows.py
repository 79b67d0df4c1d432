"""Pass-off rows: healthy flights of one engine, as the file that a baseline is fitted to.

In: flights, signal set, one engine's position. Out: one `.npz` an ESN: a row a second, inputs and
what the engine showed, in the order flown. Always holds: nothing is left out or chosen here (a
value without good samples is NaN); who fits decides what is steady.

The columns are those of `tailtwin-ground baseline fit --rows` (docs/calibration.md).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hil.fit.samples import resample
from hil.plant.flight import Flight
from shared.signals import SignalSet

RATE_HZ = 1.0
SIGNALS = {
    "n1": "ENG{position}_N1", "mach": "AIR_MACH", "altitude": "AIR_ALT", "tat": "AIR_TAT",
    "bleed": "ENG{position}_BLEED", "anti_ice": "ENG{position}_AI", "n2": "ENG{position}_N2",
    "egt": "ENG{position}_EGT", "ff": "ENG{position}_FF",
}  # fmt: skip
"""Column to the signal of the bench's airframe that fills it."""


def pass_off_rows(
    flights: Mapping[str, Flight], signals: SignalSet, position: int, esn: str, part_number: str
) -> bytes:
    """The file of one engine, from flights by `mission:seed`."""
    names = {column: text.format(position=position) for column, text in SIGNALS.items()}
    parts = [resample(flight, signals, names.values(), RATE_HZ) for flight in flights.values()]
    columns = {
        column: np.concatenate([part.columns[name] for part in parts])
        for column, name in names.items()
    }
    meta = {
        "esn": esn, "part_number": part_number, "rate_hz": RATE_HZ, "flights": list(flights),
        "source": "healthy flights of the bench: " + ", ".join(flights),
    }  # fmt: skip
    out = io.BytesIO()
    arrays: dict[str, npt.NDArray[Any]] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "t_ns": np.concatenate([part.t_ns for part in parts]),
        "flight": np.repeat(np.arange(len(parts)), [len(part.t_ns) for part in parts]),
        "phase": np.concatenate([part.phase for part in parts]),
        **columns,
    }
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # stub wants allow_pickle
    return out.getvalue()


def flights_named(names: Sequence[str], flight_of: Callable[[str], Flight]) -> dict[str, Flight]:
    """Flights by `mission:seed`, each flown once."""
    return {name: flight_of(name) for name in dict.fromkeys(names)}
