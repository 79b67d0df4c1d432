"""A liquid hydrogen tank as data: shape, vent valve, and how its heat and liquid mix.

In: a TOML file. Out: a frozen `Tank`.
Always holds: unknown keys are refused by name and every number is inside its bounds.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ground.models.tank.hydrogen import LIBRARY
from ground.models.tank.shape import Shape, capsule, spheroid
from shared.errors import Rejected

TANKS = Path(__file__).parent

Metres = Annotated[float, Meta(ge=0.01, le=50.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class Tank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """radius_m and length_m: of a `capsule` lying down; of a `spheroid` the half height is given
    instead of the length."""

    name: str
    source: Annotated[str, Meta(min_length=1)]
    shape: Literal["capsule", "spheroid"]
    radius_m: Metres
    length_m: Metres
    vent_open_kpa: Annotated[float, Meta(ge=50.0, le=1000.0)]
    vent_close_kpa: Annotated[float, Meta(ge=50.0, le=1000.0)]
    """It reseats here: the difference is its hysteresis."""
    vent_area_mm2: Annotated[float, Meta(ge=0.0, le=1e5)]
    """Effective, discharge coefficient included."""
    rise_share: Share
    """Of the wetted wall's heat, what the boundary layer carries up to the surface."""
    mixing_m2_s: Annotated[float, Meta(ge=1e-8, le=1e-3)]
    """Effective diffusivity of heat in the liquid, the wall's circulation included."""
    surface_w_m2_k: Annotated[float, Meta(ge=0.0, le=100.0)]
    """Heat transfer from ullage to the liquid's surface."""
    dry_to_surface: Share
    """Of the dry wall's heat, what the metal conducts down to the surface."""
    pressurant_k: Annotated[float, Meta(ge=25.0, le=300.0)]

    def __post_init__(self) -> None:
        if self.vent_close_kpa >= self.vent_open_kpa:
            what = f"vent closes at {self.vent_close_kpa:g} kPa, opens at {self.vent_open_kpa:g}"
            raise Rejected(what, f"tank {self.name}", "close below the opening pressure")

    @cached_property
    def geometry(self) -> Shape:
        make = capsule if self.shape == "capsule" else spheroid
        return make(self.radius_m, self.length_m)

    @property
    def sha256(self) -> str:
        """Of the numbers and of the library the properties come from."""
        return hashlib.sha256(msgspec.json.encode(self) + LIBRARY.encode()).hexdigest()


def load_tank(name: str = "regional_lh2") -> Tank:
    """The tank of that name in this folder."""
    path = TANKS / f"{name}.toml"
    try:
        return parse_tank(path.read_bytes(), str(path))
    except OSError as error:
        known = ", ".join(sorted(x.stem for x in TANKS.glob("*.toml")))
        raise Rejected(
            f"no tank {name!r}: {error.strerror}", str(path), f"one of {known}"
        ) from None


def parse_tank(data: bytes, where: str) -> Tank:
    try:
        return msgspec.toml.decode(data, type=Tank)
    except msgspec.DecodeError as error:
        raise Rejected(str(error), where, "correct the tank's file") from None
