"""What really was, over time: the record that sensors look at.

In: one instant of airframe, engines, systems and commands. Out: named numbers, and the `Trace` of
a whole flight. Always holds: truth only; no noise, no signal, no bus.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hil.plant.airframe import FT_M, Airframe
from hil.plant.autopilot import Commands, Motion
from hil.plant.gaspath import Engine, State
from hil.plant.stage import Levers, Stage
from hil.plant.systems import LB_KG, Services

FloatArray = npt.NDArray[np.float64]
SLOW_STEPS: Final = 4
FAST_STEPS: Final = 2


@dataclass(frozen=True)
class Trace:
    """Truth over time. `slow` at 30 Hz, `fast` at 60 Hz, both from t = 0; events in s."""

    slow: dict[str, FloatArray]
    fast: dict[str, FloatArray]
    stages: tuple[tuple[float, str], ...]
    phases: tuple[tuple[float, str], ...]
    out_s: float
    off_s: float
    on_s: float
    in_s: float
    touchdown_fps: float
    onset_s: float | None
    end_s: float


def row_of(
    m: Motion,
    stage: Stage,
    c: Commands,
    levers: Levers,
    s: Services,
    engines: tuple[Engine, Engine],
    a: Airframe,
) -> dict[str, float]:
    """Everything a sensor may want to look at, at one instant."""
    static_k = a["atmosphere/T-R"] / 1.8
    mach = a["velocities/mach"]
    wind_n, wind_e = a["atmosphere/wind-north-fps"], a["atmosphere/wind-east-fps"]
    row = {
        "altitude_ft": m.altitude_ft, "cas_kt": m.cas_kt, "mach": mach,
        "tas_kt": m.tas_m_s / 0.514444, "sat_cel": static_k - 273.15,
        "tat_cel": static_k * (1 + 0.2 * mach**2) - 273.15, "vs_fpm": m.climb_m_s / FT_M * 60,
        "alpha_deg": a["aero/alpha-deg"], "height_ft": m.height_ft, "climb_m_s": m.climb_m_s,
        "ground_kt": m.ground_m_s / 0.514444, "lat_deg": m.lat_deg, "lon_deg": m.lon_deg,
        "track_deg": m.track_deg if m.ground_m_s > 10 else m.heading_deg,
        "wind_kt": math.hypot(wind_n, wind_e) / 1.68781,
        "wind_from_deg": (math.degrees(math.atan2(wind_e, wind_n)) + 180) % 360,
        "altitude_geo_ft": a["position/h-sl-ft"],
        "elevator_deg": c.elevator * 17.19, "stab_units": 5 - 10 * c.trim,
        "aileron_deg": math.degrees(a["fcs/left-aileron-pos-rad"]),
        "rudder_deg": math.degrees(a["fcs/rudder-pos-rad"]),
        "flap_deg": 40 * a["fcs/flap-pos-norm"],
        "speed_brake": 100 * max(a["fcs/speedbrake-pos-norm"], a["fcs/spoiler-pos-norm"]),
        "lever_deg": _lever_deg(c), "steer_deg": 35 * c.steer,
        "wow_n": a["gear/unit[0]/WOW"], "wow_l": a["gear/unit[1]/WOW"],
        "wow_r": a["gear/unit[2]/WOW"], "gear_down": float(a["gear/gear-pos-norm"] > 0.99),
        "park_brake": float(levers.park_brake),
        "brake_psi": 3000 * (1.0 if levers.park_brake else c.brake),
        "external_power": float(s.external_power), "apu_power": float(s.apu_power),
        "battery_only": float(s.battery_only), "air_on": float(s.adiru_air),
        "inertial_on": float(s.adiru_inertial), "ac1_v": s.ac_v[0], "ac2_v": s.ac_v[1],
        "dc_v": s.dc_v, "fuel_l_kg": s.tanks_lb[0] * LB_KG, "fuel_r_kg": s.tanks_lb[1] * LB_KG,
        "fuel_c_kg": s.tanks_lb[2] * LB_KG, "gross_kg": m.weight_lb * LB_KG,
        "cabin_ft": s.cabin_ft, "cabin_psi": s.cabin_psi, "duct_l": s.duct_psi[0],
        "duct_r": s.duct_psi[1], "stage": float(stage),
    }  # fmt: skip
    for i, engine in enumerate(engines):
        row.update(_engine_row(f"e{i + 1}_", engine.state))
        row[f"e{i + 1}_bleed"], row[f"e{i + 1}_ai"] = float(s.bleed[i]), float(s.anti_ice[i])
        row[f"e{i + 1}_cutoff"] = float(not levers.fuel[i])
        row[f"e{i + 1}_eec"] = float(s.eec[i])
    return row


def _engine_row(key: str, e: State) -> dict[str, float]:
    return {
        key + "n1": e.n1, key + "n2": e.n2, key + "egt_cel": e.egt_k - 273.15,
        key + "fuel_kg_h": e.fuel_kg_h, key + "oil_psi": e.oil_psi,
        key + "oil_cel": e.oil_k - 273.15, key + "oil_qt": e.oil_qt, key + "vib": e.vibration,
        key + "thrust_lb": e.thrust_lb,
    }  # fmt: skip


def _lever_deg(c: Commands) -> float:
    """Thrust lever angle: 0 idle, 60 at 100 % N1 command, below 0 in reverse (assumption)."""
    forward = max(c.n1 - 21.5, 0.0) / 78.5 * 60
    return -15 * c.reverse - 0.2 * forward * c.reverse if c.reverse > 0.1 else forward


def columns_of(rows: array[float], names: list[str]) -> dict[str, FloatArray]:
    """Columns of flat rows, by name."""
    table = np.array(rows).reshape(-1, len(names)).T
    return {name: table[i].copy() for i, name in enumerate(names)}


def without_spikes(x: FloatArray) -> FloatArray:
    """Median of three: JSBSim's friction solver gives one-step spikes when a wheel stops."""
    inner = np.median(np.stack([x[:-2], x[1:-1], x[2:]]), axis=0)
    return np.concatenate([x[:1], inner, x[-1:]])
