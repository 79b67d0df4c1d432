"""What is flown, and in which weather, as data.

In: a mission name and a seed. Out: a frozen `Mission` (stand, taxi paths, route, runway, times)
and frozen `Conditions` (air, load, speeds, use of bleed) drawn from the seed. Always holds: the
same seed draws the same conditions, and nothing else in the plant draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hil.plant.deck import HEALTH
from shared.errors import Rejected

EARTH_RADIUS_M = 6_371_000.0  # mean radius; frames are local, so their scale hardly matters
PERCENT_MAX = 5.0  # a little further than the deck was made for
Point = tuple[float, float]
"""(along, right) of a runway's start and heading, m."""


@dataclass(frozen=True)
class Place:
    """A position and a true heading."""

    lat_deg: float
    lon_deg: float
    heading_deg: float


@dataclass(frozen=True)
class Frame:
    """A local plane: origin at a runway's start, axes along the runway and to its right."""

    origin: Place

    def local(self, lat_deg: float, lon_deg: float) -> Point:
        """(along, right) in m."""
        north = math.radians(lat_deg - self.origin.lat_deg) * EARTH_RADIUS_M
        east = math.radians(lon_deg - self.origin.lon_deg) * EARTH_RADIUS_M
        east *= math.cos(math.radians(self.origin.lat_deg))
        c, s = self._axes()
        return north * c + east * s, east * c - north * s

    def geodetic(self, point: Point) -> tuple[float, float]:
        """(lat_deg, lon_deg) of a local point."""
        c, s = self._axes()
        north, east = point[0] * c - point[1] * s, point[0] * s + point[1] * c
        lat = self.origin.lat_deg + math.degrees(north / EARTH_RADIUS_M)
        scale = EARTH_RADIUS_M * math.cos(math.radians(self.origin.lat_deg))
        return lat, self.origin.lon_deg + math.degrees(east / scale)

    def _axes(self) -> tuple[float, float]:
        heading = math.radians(self.origin.heading_deg)
        return math.cos(heading), math.sin(heading)


@dataclass(frozen=True)
class Mission:
    """One flight, gate to gate."""

    name: str
    runway: Place
    """Start of the departure runway; the frame of stand, taxi_out, route and arrival."""
    stand: Point
    stand_heading_deg: float
    """Relative to the runway."""
    taxi_out: tuple[Point, ...]
    route: tuple[Point, ...]
    """Waypoints, m; the last one lies on the final approach course."""
    arrival: Point
    arrival_heading_deg: float
    """Relative to the departure runway; the landing aims at this point + 300 m."""
    taxi_in: tuple[Point, ...]
    """(along, right) from where the aircraft leaves the runway at taxi speed."""
    intercept_ft: float
    parked_s: float
    start_gap_s: float
    before_taxi_s: float
    adiru_s: tuple[float, float]
    """When air data and inertial data begin, s."""
    shutdown_s: float
    """From brake set to engines off."""
    tail_s: float
    """From brake set to the end of the recording."""
    cruise_ft: float | None = None
    """None: drawn from the seed."""
    fitted: bool = True
    """The destination lies as far as the wind and speed of the day carry in the same time."""
    clean: bool = True
    """Flaps are retracted; a hop keeps its take-off flaps and stays slow."""

    def fit(self, c: Conditions) -> Mission:
        """This mission with its route stretched to the speeds of `c`."""
        if not self.fitted:
            return self
        tas_kt = c.cruise_kt * (1 + 0.0158 * c.cruise_ft / 1000)  # rule of thumb, 1.6 % a 1,000 ft
        head_kt = c.wind_aloft_kt * math.cos(math.radians(c.wind_from_deg + 15))
        factor = 0.35 + 0.65 * (tas_kt - head_kt) / 360
        factor -= 0.004 * (c.cruise_ft / 1000 - 20)

        def far(p: Point) -> Point:
            return p[0] * factor, p[1] * factor

        return replace(self, route=tuple(map(far, self.route)), arrival=far(self.arrival))


@dataclass(frozen=True)
class Conditions:
    """What differs from flight to flight. Ranges are assumptions, inside what a 737 sees."""

    seed: int
    isa_dev_k: float
    wind_kt: float
    wind_aloft_kt: float
    wind_from_deg: float
    """Relative to the departure runway; it veers by 20 degrees aloft."""
    gust_fps: float
    turbulence_severity: float
    payload_lb: float
    fuel_lb: float
    cruise_ft: float
    climb_n1: float
    """Corrected N1 of the climb rating at sea level; `takeoff_n1` likewise."""
    takeoff_n1: float
    cruise_kt: float
    cruise_step_kt: float
    bleeds_off_takeoff: bool
    single_pack: int
    """Engine whose bleed is closed for part of the cruise; 0 for neither."""
    anti_ice: bool
    """Nacelle anti-ice is used in cloud (5,000 to 14,000 ft), where total air is below +10 Cel."""


def draw_conditions(seed: int) -> Conditions:
    """Conditions of a seed."""
    if not 0 <= seed < 2**31:
        raise Rejected(f"seed {seed} is out of range", "seed", "use 0 to 2147483647")
    rng = np.random.default_rng([seed, 0x7461696C])
    u = [float(x) for x in rng.random(16)]
    return Conditions(
        seed=seed,
        isa_dev_k=round(-10 + 25 * u[0], 1),
        wind_kt=round(10 * u[1], 1),
        wind_aloft_kt=round(10 + 40 * u[2], 1),
        wind_from_deg=round(-40 + 80 * u[3]),
        gust_fps=round(2 + 6 * u[4], 1),
        turbulence_severity=float(1 + int(2 * u[5])),
        payload_lb=round(6000 * u[6]),
        fuel_lb=round(13_000 + 7_000 * u[7]),
        cruise_ft=1000.0 * (18 + int(7 * u[8])),
        climb_n1=round(88.5 + 2.5 * u[9], 1),
        takeoff_n1=round(89 + 4 * u[10], 1),
        cruise_kt=round(270 + 30 * u[11]),
        cruise_step_kt=round(8 + 14 * u[12]) * (1 if u[13] < 0.5 else -1),
        bleeds_off_takeoff=u[14] < 0.5,
        single_pack=int(3 * u[15]),
        anti_ice=u[4] < 0.7,
    )


_RUNWAY = Place(47.0, 8.0, 70.0)

FULL = Mission(
    name="full",
    runway=_RUNWAY,
    stand=(420.0, 240.0),
    stand_heading_deg=-90.0,
    taxi_out=((420.0, 240.0), (420.0, 150.0), (0.0, 150.0), (0.0, 0.0), (120.0, 0.0)),
    route=((60_000.0, 0.0), (150_000.0, 25_000.0), (250_000.0, 25_000.0)),
    arrival=(300_000.0, 37_000.0),
    arrival_heading_deg=14.0,
    taxi_in=((0.0, 0.0), (60.0, 0.0), (60.0, 150.0), (-250.0, 150.0), (-250.0, 240.0)),
    intercept_ft=3000.0,
    parked_s=60.0,
    start_gap_s=40.0,
    before_taxi_s=15.0,
    adiru_s=(10.0, 25.0),
    shutdown_s=15.0,
    tail_s=430.0,
)

HOP = Mission(
    name="hop",
    runway=_RUNWAY,
    stand=(-140.0, 0.0),
    stand_heading_deg=0.0,
    taxi_out=((-140.0, 0.0), (0.0, 0.0), (60.0, 0.0)),
    route=(),
    arrival=(14_500.0, 0.0),
    arrival_heading_deg=0.0,
    taxi_in=((0.0, 0.0), (60.0, 0.0)),
    intercept_ft=1500.0,
    parked_s=8.0,
    start_gap_s=6.0,
    before_taxi_s=3.0,
    adiru_s=(2.0, 4.0),
    shutdown_s=5.0,
    tail_s=100.0,
    cruise_ft=1500.0,
    fitted=False,
    clean=False,
)

MISSIONS = {m.name: m for m in (FULL, HOP)}


def mission_named(name: str) -> Mission:
    """The mission of that name; Rejected names those there are."""
    if name not in MISSIONS:
        raise Rejected(f"no mission {name!r}", "mission", "one of " + ", ".join(MISSIONS))
    return MISSIONS[name]


@dataclass(frozen=True)
class Degradation:
    """Health that one engine loses, as a ramp. Before the flight: phase "parked", after_s 0 and a
    ramp of a moment."""

    engine: int = 2
    parameter: str = "hpc_eff"
    """One of hil.plant.deck.HEALTH: a component's efficiency or flow capacity."""
    percent: float = 3.0
    """Lost at the end of the ramp, relative to the type's value; negative is gained."""
    ramp_s: float = 240.0
    phase: str = "cruise"
    after_s: float = 60.0
    """The ramp begins this long after `phase` began."""

    def __post_init__(self) -> None:
        ok = self.engine in (1, 2) and abs(self.percent) <= PERCENT_MAX and self.ramp_s > 0
        if not (ok and self.parameter in HEALTH and self.after_s >= 0):
            raise Rejected(
                f"engine 1 or 2, up to {PERCENT_MAX:g} percent of one of {', '.join(HEALTH)}, "
                "ramp_s above 0, after_s 0 or more",
                "degradation",
                "correct the scenario",
            )

    def percent_at(self, since_onset_s: float) -> float:
        """Percent lost this long after the onset."""
        return self.percent * min(1.0, max(0.0, since_onset_s / self.ramp_s))
