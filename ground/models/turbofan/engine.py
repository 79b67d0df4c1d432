"""An engine type: its design numbers as data, and the scalars its maps get from them.

In: a name. Out: `EngineType`. Always holds: the same data give the same sha256 and the same
scalars; the scalars are what pyCycle's design point computes (s_Nc, s_PR, s_eff, s_Wc; s_Np, s_Wp;
nozzle areas), found here by running the same components at the design point.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ground.models.turbofan.gas import GAS
from ground.models.turbofan.maps import MAPS
from shared.errors import Rejected

HEALTH: Final[tuple[str, ...]] = (
    "fan_eff", "fan_flow", "lpc_eff", "lpc_flow", "hpc_eff", "hpc_flow",
    "hpt_eff", "hpt_flow", "lpt_eff", "lpt_flow",
)  # fmt: skip
"""Relative change of a component against its type, as a fraction: efficiency, flow capacity."""

_DATA: Final = Path(__file__).parent / "data"


class Compressor(msgspec.Struct, frozen=True):
    pr: float
    eff: float


class Turbine(msgspec.Struct, frozen=True):
    eff: float


class Design(msgspec.Struct, frozen=True):
    """The point the maps are scaled at."""

    mach: float
    altitude_ft: float
    thrust_n: float
    """Net, before `scale`; so is `shaft_power_w`."""
    scale: float
    t4_k: float
    bpr: float
    n1_rpm: float
    n2_rpm: float
    shaft_power_w: float
    fan: Compressor
    lpc: Compressor
    hpc: Compressor
    hpt: Turbine
    lpt: Turbine


class FullSpeed(msgspec.Struct, frozen=True):
    """What 100 % means."""

    n1_rpm: float
    n2_rpm: float


class Loss(msgspec.Struct, frozen=True):
    """Relative losses of total pressure, and velocity coefficients of the nozzles."""

    ram_recovery: float
    duct4: float
    duct6: float
    burner: float
    duct11: float
    duct13: float
    duct15: float
    core_cv: float
    bypass_cv: float


class Bleed(msgspec.Struct, frozen=True):
    """Fractions of the flow they are taken from; `_work`: share of the compressor's work in it."""

    bypass: float
    customer_design: float
    customer: float
    anti_ice: float
    customer_work: float
    cool1: float
    cool1_work: float
    cool2: float
    cool2_work: float
    cool3: float
    cool4: float


class Valid(msgspec.Struct, frozen=True):
    """Where the model speaks: corrected N1 (%), Mach, pressure altitude."""

    n1c: tuple[float, float]
    mach: tuple[float, float]
    altitude_ft: tuple[float, float]


class EngineData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data file."""

    name: str
    title: str
    design: Design
    full_speed: FullSpeed
    loss: Loss
    bleed: Bleed
    valid: Valid


@dataclass(frozen=True)
class CompressorScale:
    """Multipliers from map to machine."""

    speed: float
    pr: float
    eff: float
    flow: float


TurbineScale = CompressorScale


@dataclass(frozen=True)
class Scales:
    """What the design point leaves behind."""

    fan: CompressorScale
    lpc: CompressorScale
    hpc: CompressorScale
    hpt: TurbineScale
    lpt: TurbineScale
    core_area_m2: float
    bypass_area_m2: float
    airflow_kg_s: float
    thrust_n: float


@dataclass(frozen=True, eq=False)
class EngineType:
    """An engine type ready to be solved."""

    data: EngineData
    sha256: str
    """Hex, over the design data, the maps and the gas data."""
    scales: Scales

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def n1c_valid(self) -> tuple[float, float]:
        """Corrected N1 in % of its full speed, between which the model speaks."""
        return self.data.valid.n1c


def load_engine_type(name: str = "hbtf_cfm56") -> EngineType:
    """The type of that name, once per process; Rejected when there is none or its data are wrong."""
    return _load(name)


@functools.cache
def _load(name: str) -> EngineType:
    from ground.models.turbofan.sizing import size  # it needs this module's words

    path = _DATA / f"{name}.toml"
    if not name.isidentifier() or not path.is_file():
        known = ", ".join(sorted(p.stem for p in _DATA.glob("*.toml")))
        raise Rejected(f"no engine type {name!r}", str(_DATA), f"use one of {known}")
    text = path.read_bytes()
    try:
        data = msgspec.toml.decode(text, type=EngineData)
    except msgspec.DecodeError as error:
        raise Rejected(str(error), str(path), "correct the engine type's data") from error
    parts = (text, MAPS.read_bytes(), GAS.read_bytes())
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return EngineType(data, digest, size(data))
