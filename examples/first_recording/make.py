"""Makes recording.csv anew: a flight of the bench's 737, one row a second.

    python examples/first_recording/make.py

In: the bench's flight simulation. Out: the file beside this one, the same bytes every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.plant.flight import Flight
from hil.plant.fly import fly
from shared.signals import STATUS_NORMAL, Signal, SignalSet, load_signal_set

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "ALT": "AIR_ALT", "CAS": "AIR_CAS", "GS": "NAV_GS", "VS": "AIR_VS", "RA": "RADIO_HT",
    "N1_1": "ENG1_N1", "N1_2": "ENG2_N1", "N2_1": "ENG1_N2", "N2_2": "ENG2_N2",
    "EGT_1": "ENG1_EGT", "EGT_2": "ENG2_EGT", "OILP_1": "ENG1_OILP", "OILP_2": "ENG2_OILP",
    "GEAR_L": "WOW_L", "GEAR_R": "WOW_R", "BRAKE": "PARK_BRAKE", "EXT_PWR": "EXT_PWR",
    "APU_PWR": "APU_PWR", "BATT_ONLY": "BATT_ONLY", "CUTOFF_1": "ENG1_CUTOFF",
    "CUTOFF_2": "ENG2_CUTOFF", "EEC_1": "ENG1_EEC_PWR", "EEC_2": "ENG2_EEC_PWR",
}  # fmt: skip
SWAPPED = ("GEAR_L", "GEAR_R")  # this recorder writes 1 for a gear that hangs
WHOLE = ("ALT", "VS", "RA", "EGT_1", "EGT_2", "OILP_1", "OILP_2")


def main() -> None:
    signals = load_signal_set(ROOT / "firmware_profiles/signals/b737_bench.toml")
    flight = fly("full", 4, signals, cache_dir=ROOT / "var/cache", say=print)
    t_ns = flight.start_ns + np.arange(1, int(flight.duration_s)) * 1_000_000_000
    columns = [_cells(flight, signals, name, signal, t_ns) for name, signal in COLUMNS.items()]
    lines = ["t," + ",".join(COLUMNS)]
    lines += [f"{i},{','.join(row)}" for i, row in enumerate(zip(*columns, strict=True))]
    Path(__file__).with_name("recording.csv").write_text("\n".join(lines) + "\n")


def _cells(
    flight: Flight, signals: SignalSet, name: str, source: str, t_ns: np.ndarray
) -> list[str]:
    """The last sample at or before each time as text; empty where there is no data."""
    group, k = signals.position[source]
    readings = flight.groups[group.name]
    at = np.searchsorted(readings.t_ns, t_ns, "right") - 1
    signal = group.signal[k]
    raw = readings.raw[at, k - int(group.is_f64[:k].sum())]
    dark = readings.status[at, k] != STATUS_NORMAL
    return [
        "" if no_data else _text(name, signal, int(x)) for x, no_data in zip(raw, dark, strict=True)
    ]


def _text(name: str, signal: Signal, raw: int) -> str:
    if signal.encoding == "enum":
        return str(1 - raw if name in SWAPPED else raw)
    value = raw * signal.scale + signal.offset
    return str(round(value)) if name in WHOLE else f"{value:.1f}"


if __name__ == "__main__":
    main()
