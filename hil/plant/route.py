"""Where to fly: the lateral route and the height of the descent path.

In: a mission fitted to its conditions, positions. Out: tracks, distances to go, heights. Always
holds: waypoints are only ever left behind, and the last guidance is the landing runway's axis.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from hil.plant.autopilot import Motion, clip
from hil.plant.mission import Frame, Mission, Place

FT_M: Final = 0.3048
GLIDE: Final = math.tan(math.radians(3.0))
_DESCENT: Final = math.tan(math.radians(3.4))
_AIM_M: Final = 300.0  # touchdown zone: how far behind the threshold to aim


class Route:
    """The way of one flight."""

    def __init__(self, mission: Mission) -> None:
        self.departure = Frame(mission.runway)
        lat, lon = self.departure.geodetic(mission.arrival)
        heading = (mission.runway.heading_deg + mission.arrival_heading_deg) % 360
        self.arrival = Frame(Place(lat, lon, heading))
        self._points = [self.arrival.local(*self.departure.geodetic(p)) for p in mission.route]
        self._intercept_ft = mission.intercept_ft
        self.intercept_m = mission.intercept_ft * FT_M / GLIDE
        """Distance to go at which the final descent begins."""
        self._level_m = self.intercept_m + (8_000 if mission.clean else 0)

    def axis_deg(self, m: Motion, frame: Frame) -> float:
        """Track that comes onto a runway's axis."""
        right_m = frame.local(m.lat_deg, m.lon_deg)[1]
        return frame.origin.heading_deg - clip(0.06 * right_m, -30, 30)

    def guide(self, m: Motion) -> tuple[float, float]:
        """(track in degrees, distance to go to the landing point in m)."""
        at = self.arrival.local(m.lat_deg, m.lon_deg)
        while self._points and math.dist(at, self._points[0]) < 25 * m.ground_m_s:
            self._points.pop(0)
        if not self._points:
            return self.axis_deg(m, self.arrival), _AIM_M - at[0]
        to = self._points[0]
        bearing = math.degrees(math.atan2(to[1] - at[1], to[0] - at[0]))
        way = [at, *self._points, (_AIM_M, 0.0)]
        to_go_m = sum(math.dist(a, b) for a, b in pairwise(way))
        return self.arrival.origin.heading_deg + bearing, to_go_m

    def profile_ft(self, to_go_m: float) -> float:
        """Height of the descent path: 3.4 degrees to the intercept, level, then 3 degrees."""
        final_ft = min(to_go_m * GLIDE / FT_M, self._intercept_ft)
        above_ft = (to_go_m - self._level_m) * _DESCENT / FT_M
        return max(final_ft, self._intercept_ft + above_ft)
