"""From truth to readings: sampling, noise, quantisation, power of the source.

In: a `Trace` and a signal set. Out: `Readings` a group. Always holds: a signal's noise depends on
the seed and its own name only; raw values are what the label can carry; a source without power
gives status no_data and raw 0, never a number.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from hil.plant.airframe import RATE_HZ
from hil.plant.flight import Readings
from hil.plant.trace import FAST_STEPS, SLOW_STEPS, Trace
from shared.errors import ConfigError
from shared.signals import STATUS_NO_DATA, Group, Signal, SignalSet

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
How = Literal["linear", "held", "angle"]
_CAS_MIN_KT: Final = 30.0  # below it an air data computer gives no airspeed
_RADIO_MAX_FT: Final = 2500.0


@dataclass(frozen=True)
class Channel:
    """How one signal looks at the truth."""

    source: str
    noise: float = 0.0
    """Standard deviation, in the signal's unit (assumptions: about half an LSB to one)."""
    how: How = "linear"


_FIXED: Final = {
    "ACC_LONG": Channel("acc_long", 0.0012), "ACC_LAT": Channel("acc_lat", 0.0012),
    "ACC_NORM": Channel("acc_norm", 0.0016), "RATE_PITCH": Channel("pitch_rate", 0.008),
    "RATE_ROLL": Channel("roll_rate", 0.008), "RATE_YAW": Channel("yaw_rate", 0.008),
    "PITCH": Channel("pitch", 0.004), "ROLL": Channel("roll", 0.004),
    "HDG": Channel("heading", 0.004, "angle"),
    "ELEV": Channel("elevator_deg", 0.02), "AIL": Channel("aileron_deg", 0.02),
    "RUD": Channel("rudder_deg", 0.02), "STAB": Channel("stab_units", 0.01),
    "FLAP": Channel("flap_deg", 0.03), "SPD_BRK": Channel("speed_brake", 0.1),
    "TLA1": Channel("lever_deg", 0.02), "TLA2": Channel("lever_deg", 0.02),
    "AIR_ALT": Channel("altitude_ft", 0.7), "AIR_CAS": Channel("cas_kt", 0.08),
    "AIR_MACH": Channel("mach", 0.0002), "AIR_TAS": Channel("tas_kt", 0.1),
    "AIR_TAT": Channel("tat_cel", 0.12), "AIR_SAT": Channel("sat_cel", 0.12),
    "AIR_VS": Channel("vs_fpm", 10.0), "AIR_AOA": Channel("alpha_deg", 0.05),
    "RADIO_HT": Channel("height_ft", 0.12),
    "NAV_GS": Channel("ground_kt", 0.06), "NAV_LAT": Channel("lat_deg", 3e-6),
    "NAV_LON": Channel("lon_deg", 3e-6), "NAV_TRK": Channel("track_deg", 0.02, "angle"),
    "NAV_WIND_SPD": Channel("wind_kt", 0.4),
    "NAV_WIND_DIR": Channel("wind_from_deg", 0.7, "angle"),
    "NAV_ALT_GNSS": Channel("altitude_geo_ft", 0.6),
    "WOW_L": Channel("wow_l", how="held"), "WOW_R": Channel("wow_r", how="held"),
    "WOW_N": Channel("wow_n", how="held"), "GEAR_DOWN": Channel("gear_down", how="held"),
    "PARK_BRAKE": Channel("park_brake", how="held"), "BRAKE_PRESS": Channel("brake_psi", 6.0),
    "STEER": Channel("steer_deg", 0.06), "EXT_PWR": Channel("external_power", how="held"),
    "APU_PWR": Channel("apu_power", how="held"), "BATT_ONLY": Channel("battery_only", how="held"),
    "BUS_AC1": Channel("ac1_v", 0.2), "BUS_AC2": Channel("ac2_v", 0.2),
    "BUS_DC": Channel("dc_v", 0.06), "FUEL_L": Channel("fuel_l_kg", 1.5),
    "FUEL_R": Channel("fuel_r_kg", 1.5), "FUEL_C": Channel("fuel_c_kg", 1.5),
    "GROSS_WT": Channel("gross_kg"), "CAB_ALT": Channel("cabin_ft", 3.0),
    "CAB_DP": Channel("cabin_psi", 0.01), "DUCT_L": Channel("duct_l", 0.3),
    "DUCT_R": Channel("duct_r", 0.3),
}  # fmt: skip
_ENGINE: Final = {
    "N1": Channel("n1", 0.02), "N2": Channel("n2", 0.02), "EGT": Channel("egt_cel", 0.6),
    "FF": Channel("fuel_kg_h", 3.0), "OILP": Channel("oil_psi", 0.25),
    "OILT": Channel("oil_cel", 0.2), "OILQ": Channel("oil_qt", 0.03),
    "VIB": Channel("vib", 0.02), "BLEED": Channel("bleed", how="held"),
    "AI": Channel("ai", how="held"), "CUTOFF": Channel("cutoff", how="held"),
    "EEC_PWR": Channel("eec", how="held"),
}  # fmt: skip
_POWER: Final = {"EEC_1": "e1_eec", "EEC_2": "e2_eec"}
_AIRSPEED_ZERO: Final = ("AIR_CAS", "AIR_MACH", "AIR_TAS")


def _channel(signal: Signal, where: str) -> Channel:
    if signal.name in _FIXED:
        return _FIXED[signal.name]
    head, _, tail = signal.name.partition("_")
    if head in ("ENG1", "ENG2") and tail in _ENGINE:
        c = _ENGINE[tail]
        return Channel(f"e{head[-1]}_{c.source}", c.noise, c.how)
    raise ConfigError(
        f"the plant has no sensor for {signal.name!r}", where, "use a signal of b737_bench.toml"
    )


def check_sensors(signal_set: SignalSet) -> None:
    """ConfigError names a signal that no sensor of the plant gives."""
    for group in signal_set.groups:
        for signal in group.signal:
            _channel(signal, signal_set.name)


class Sensors:
    """Looks at one trace with the sensors of one signal set."""

    def __init__(self, trace: Trace, signal_set: SignalSet, seed: int, start_ns: int) -> None:
        self._trace, self._set, self._seed, self._start_ns = trace, signal_set, seed, start_ns

    def read(self, group: Group) -> Readings:
        """All readings of one group."""
        offset_ns = self._offset_ns(group)
        count = (round(self._trace.end_s * 1e9) - offset_ns) // group.period_ns
        since_ns = offset_ns + np.arange(count, dtype=np.int64) * group.period_ns
        t_s = since_ns / 1e9
        raw = np.zeros((count, int((~group.is_f64).sum())), np.int64)
        f64 = np.zeros((count, int(group.is_f64.sum())))
        status = np.zeros((count, len(group.signal)), np.uint8)
        n_int = n_f64 = 0
        for k, signal in enumerate(group.signal):
            value = self._value(signal, t_s)
            dark = ~self._says(signal, t_s)
            status[dark, k] = STATUS_NO_DATA
            if group.is_f64[k]:
                f64[:, n_f64] = np.where(dark, 0.0, value)
                n_f64 += 1
            else:
                raw[:, n_int] = np.where(dark, 0, quantise(signal, value))
                n_int += 1
        return Readings(self._start_ns + since_ns, raw, f64, status)

    def _offset_ns(self, group: Group) -> int:
        """Groups are not in step with each other: each begins at its own fraction of a period."""
        index = self._set.group_index[group.name]
        share = group.period_ns * (2 * index + 1) // (2 * len(self._set.groups))
        return share // 1000 * 1000 + 137_000 * index  # so that equal fractions part too

    def _value(self, signal: Signal, t_s: FloatArray) -> FloatArray:
        channel = _channel(signal, self._set.name)
        value = self._look(channel, t_s)
        if channel.noise:
            rng = np.random.default_rng([self._seed, zlib.crc32(signal.name.encode())])
            value = value + channel.noise * rng.standard_normal(len(t_s))
        if channel.how == "angle":
            value = value % 360
        if signal.name in _AIRSPEED_ZERO:
            value = np.where(self._look(Channel("cas_kt"), t_s) < _CAS_MIN_KT, 0.0, value)
        return value

    def _look(self, channel: Channel, t_s: FloatArray) -> FloatArray:
        fast = self._trace.fast.get(channel.source)
        truth = self._trace.slow[channel.source] if fast is None else fast
        step_s = (SLOW_STEPS if fast is None else FAST_STEPS) / RATE_HZ
        if channel.how == "held":
            return truth[np.minimum((t_s / step_s).astype(np.int64), len(truth) - 1)]
        if channel.how == "angle":
            truth = np.degrees(np.unwrap(np.radians(truth)))
        return np.interp(t_s, np.arange(len(truth)) * step_s, truth)

    def _says(self, signal: Signal, t_s: FloatArray) -> BoolArray:
        """Whether the source has power and a value."""
        says = np.ones(len(t_s), np.bool_)
        power = _POWER.get(signal.lru)
        if signal.lru == "ADIRU_L":
            power = "inertial_on" if signal.bus == "IR_L" else "air_on"
        if power:
            says &= self._look(Channel(power, how="held"), t_s) > 0.5
        if signal.name == "AIR_AOA":
            says &= self._look(Channel("cas_kt"), t_s) >= _CAS_MIN_KT
        if signal.name == "RADIO_HT":
            says &= self._look(Channel("height_ft"), t_s) <= _RADIO_MAX_FT
        if signal.name in ("NAV_WIND_SPD", "NAV_WIND_DIR"):
            says &= self._look(Channel("tas_kt"), t_s) >= 100
        return says


def quantise(signal: Signal, value: FloatArray, saturate: bool = True) -> npt.NDArray[np.int64]:
    """Nearest raw value; a label saturates at the ends of its range, and always at 32 bits."""
    low, high = -(2.0**31), 2.0**31 - 1
    if saturate and signal.range is not None:
        low = np.ceil((signal.range[0] - signal.offset) / signal.scale)
        high = np.floor((signal.range[1] - signal.offset) / signal.scale)
    raw = np.clip(np.rint((value - signal.offset) / signal.scale), low, high)
    return raw.astype(np.int64)
