"""The shape of a tank: level, surface and wetted wall by the volume of liquid in it.

In: a shape as data. Out: a frozen `Shape` with tables over the liquid's volume.
Always holds: tables rise with volume, so that a volume has one level; volumes are inside volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ground.models.model import Float64
from shared.errors import Rejected

POINTS = 1_025


@dataclass(frozen=True, eq=False)
class Shape:
    """Tables [POINTS] over `volume`, m3 of liquid; level in m above the bottom."""

    volume: Float64
    level: Float64
    surface: Float64
    wetted: Float64

    @property
    def volume_m3(self) -> float:
        return float(self.volume[-1])

    @property
    def wall_m2(self) -> float:
        return float(self.wetted[-1])

    def at(self, liquid_m3: float) -> tuple[float, float, float]:
        """(level m, surface m2, wetted wall m2)."""
        return (
            float(np.interp(liquid_m3, self.volume, self.level)),
            float(np.interp(liquid_m3, self.volume, self.surface)),
            float(np.interp(liquid_m3, self.volume, self.wetted)),
        )


def spheroid(radius_m: float, half_height_m: float) -> Shape:
    """A spheroid about the vertical; a sphere where both are equal."""
    _need(radius_m, half_height_m)
    turn = np.linspace(0.0, np.pi, POINTS)
    level = half_height_m * (1.0 - np.cos(turn))
    surface = np.pi * (radius_m * np.sin(turn)) ** 2
    volume = np.pi * radius_m**2 / half_height_m**2 * level**2 * (half_height_m - level / 3.0)
    slope = np.hypot(radius_m * np.cos(turn), half_height_m * np.sin(turn))
    ring = 2.0 * np.pi * radius_m * np.sin(turn) * slope
    return Shape(volume, level, surface, _summed(ring, turn))


def capsule(radius_m: float, length_m: float) -> Shape:
    """A cylinder lying down, `length_m` long, with a half sphere at each end."""
    _need(radius_m, length_m)
    turn = np.linspace(0.0, np.pi, POINTS)  # half the angle that the liquid wets, from the bottom
    level = radius_m * (1.0 - np.cos(turn))
    chord = 2.0 * radius_m * np.sin(turn)
    segment = radius_m**2 * (turn - np.sin(turn) * np.cos(turn))
    volume = segment * length_m + np.pi * level**2 * (radius_m - level / 3.0)
    surface = chord * length_m + np.pi * (chord / 2.0) ** 2
    wetted = 2.0 * radius_m * turn * length_m + 2.0 * np.pi * radius_m * level
    return Shape(volume, level, surface, wetted)


def _summed(ring: Float64, turn: Float64) -> Float64:
    slices = (ring[1:] + ring[:-1]) / 2.0 * np.diff(turn)
    return np.concatenate(([0.0], np.cumsum(slices)))


def _need(*lengths_m: float) -> None:
    for x in lengths_m:
        if not 0.01 <= x <= 50.0:
            raise Rejected(f"a length of {x:g} m", "tank shape", "0.01 to 50 m")
