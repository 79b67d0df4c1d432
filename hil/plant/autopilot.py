"""Inner loops: from what the pilot wants to surfaces, N1 and nose wheel.

In: `Motion` and targets. Out: commands. Always holds: no loop reads anything but its arguments
and its own state; every output is bounded. Gains are those that flew (found by flying; the
elevator and aileron laws are scheduled with dynamic pressure).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import msgspec

from hil.plant.mission import Point

DT_S: Final = 4 / 120  # the autopilot runs on every fourth step of the airframe
KT_M_S: Final = 0.514444
G_M_S2: Final = 9.80665
_WHEELBASE_M: Final = 12.45  # nose to main gear of 737.xml
_STEER_DEG: Final = 35.0


def clip(value: float, low: float, high: float) -> float:
    """`value`, no less than `low` and no more than `high`."""
    return low if value < low else high if value > high else value


def turn_deg(to_deg: float, from_deg: float) -> float:
    """Shortest way from one heading to another, -180 to 180."""
    return (to_deg - from_deg + 180) % 360 - 180


class Motion(msgspec.Struct, frozen=True, gc=False):
    """State of motion as the autopilot sees it (truth; sensors are another module's affair)."""

    t_s: float
    lat_deg: float
    lon_deg: float
    height_ft: float
    """Of the wheels above ground."""
    altitude_ft: float
    """Pressure altitude."""
    cas_kt: float
    tas_m_s: float
    ground_m_s: float
    climb_m_s: float
    pitch_deg: float
    roll_deg: float
    heading_deg: float
    track_deg: float
    pitch_rate: float
    roll_rate: float
    yaw_rate: float
    """deg/s."""
    qbar_psf: float
    accel_m_s2: float
    """Rate of change of inertial speed along the path."""
    delta: float
    """Static pressure over standard."""
    weight_lb: float
    on_ground: bool

    @property
    def gamma_deg(self) -> float:
        return math.degrees(math.atan2(self.climb_m_s, max(self.ground_m_s, 20.0)))


@dataclass
class Commands:
    """What the airframe and the engines are told. Norms are -1 to 1 or 0 to 1."""

    elevator: float = 0.0
    trim: float = 0.0
    aileron: float = 0.0
    rudder: float = 0.0
    steer: float = 0.0
    brake: float = 1.0
    flap: float = 0.0
    gear: float = 1.0
    speed_brake: float = 0.0
    ground_spoiler: float = 0.0
    n1: float = 0.0
    reverse: float = 0.0


class PitchLoop:
    """Pitch angle and flight path angle by elevator, trimmed off slowly."""

    def __init__(self) -> None:
        self._integral = 0.0

        self._trim = 0.0

    def hold_pitch(self, m: Motion, pitch_deg: float, commands: Commands) -> None:
        """Elevator for a pitch angle."""
        gain = clip(200 / max(m.qbar_psf, 1.0), 0.5, 3.0)
        error = pitch_deg - m.pitch_deg
        self._integral = clip(self._integral + 0.03 * gain * error * DT_S, -0.8, 0.8)
        total = -(0.045 * gain * error + self._integral) + 0.04 * gain * m.pitch_rate
        self._trim += clip(total - self._trim, -0.02, 0.02) * DT_S * 0.5
        commands.trim = clip(self._trim, -0.5, 0.5)
        commands.elevator = clip(total, -1, 1) - commands.trim

    def hold_gamma(
        self, m: Motion, gamma_deg: float, commands: Commands, quick: float = 1.0
    ) -> None:
        """Elevator for a flight path angle; `quick` above 1 for the flare."""
        error = clip(gamma_deg - m.gamma_deg, -4, 4)
        self._slow = clip(self._slow + 0.35 * quick * error * DT_S, -12, 15)
        self.hold_pitch(m, clip(self._slow + 0.8 * quick * error, -12, 17), commands)

    def arm(self, pitch_deg: float) -> None:
        """Begin to hold a path from this pitch angle."""
        self._slow = pitch_deg

    def release(self, commands: Commands) -> None:
        """On the wheels at low speed: let go, slowly."""
        self._integral *= 1 - DT_S
        commands.elevator += clip(-commands.trim - commands.elevator, -0.2 * DT_S, 0.2 * DT_S)

    _slow: float = 0.0


def hold_roll(m: Motion, roll_deg: float, commands: Commands) -> None:
    """Aileron for a bank angle."""
    gain = clip(200 / max(m.qbar_psf, 1.0), 0.5, 3.0)
    error = roll_deg - m.roll_deg
    commands.aileron = clip(0.02 * gain * (error - m.roll_rate), -1, 1)


def hold_track(m: Motion, track_deg: float, commands: Commands, bank_deg: float = 25.0) -> None:
    """Bank to a ground track."""
    error = turn_deg(track_deg, m.track_deg)
    hold_roll(m, clip(1.2 * error, -bank_deg, bank_deg), commands)


class SpeedLoop:
    """Speed by N1, or by path when N1 is fixed; the target is slewed, never stepped."""

    def __init__(self) -> None:
        self.target_kt = 0.0
        self._n1 = 40.0
        self._command = 40.0
        self._potential = 0.0
        self._cas_kt = 0.0
        self._gamma = 0.0

    def aim(self, m: Motion, target_kt: float, kt_s: float = 1.0) -> None:
        """Slew the target speed."""
        if self.target_kt == 0.0:
            self.target_kt = m.cas_kt
        self.target_kt += clip(target_kt - self.target_kt, -kt_s * DT_S, kt_s * DT_S)

    def arm(self, n1: float) -> None:
        """Begin from this N1."""
        self._n1 = self._command = n1
        self._cas_kt = self.target_kt

    def by_thrust(self, m: Motion, gamma_deg: float, n1_min: float, n1_max: float) -> float:
        """N1 that holds the target on a path of `gamma_deg`."""
        error = clip(self.target_kt - self._smooth(m), -15, 15)
        self._gamma += (gamma_deg - self._gamma) * DT_S / 3
        gain = clip(1 / m.delta, 1.0, 2.2)
        ahead = 1.6 * gain * self._gamma
        wanted = self._n1 + ahead + gain * (0.8 * error - 2.5 * m.accel_m_s2 / KT_M_S)
        free = n1_min < wanted < n1_max or (wanted <= n1_min) == (error > 0)
        if free:
            self._n1 += 0.05 * gain * error * DT_S
        self._n1 = clip(self._n1, n1_min - ahead - 10, n1_max - ahead + 10)
        return self.slew(clip(wanted, n1_min, n1_max))

    def _smooth(self, m: Motion) -> float:
        """Airspeed without gusts: inertial acceleration now, air data over 4 s."""
        self._cas_kt += (m.accel_m_s2 / KT_M_S + (m.cas_kt - self._cas_kt) / 4) * DT_S
        return self._cas_kt

    def slew(self, n1: float, per_s: float = 2.5) -> float:
        """N1 command that moves towards `n1` no faster than a hand on the levers."""
        self._command += clip(n1 - self._command, -per_s * DT_S, per_s * DT_S)
        return self._command

    def by_path(self, m: Motion, low_deg: float, high_deg: float) -> float:
        """Path angle that holds the target at the thrust there is: what thrust leaves over
        drag is shared between climbing and accelerating."""
        now = m.gamma_deg + math.degrees(m.accel_m_s2 / G_M_S2)
        self._potential += (now - self._potential) * DT_S / 2.5
        wanted = clip(0.10 * (self.target_kt - m.cas_kt), -0.8, 0.8) * KT_M_S
        return clip(self._potential - math.degrees(wanted / G_M_S2), low_deg, high_deg)

    def arm_path(self, m: Motion) -> None:
        """Begin `by_path` from what the aircraft does now."""
        self._potential = m.gamma_deg + math.degrees(m.accel_m_s2 / G_M_S2)


class Wheels:
    """Steering along a path on the ground (pure pursuit), brakes and taxi thrust."""

    def __init__(self) -> None:
        self._path: list[Point] = []
        self._leg = 0
        self._power = 0.0

    def follow(self, path: list[Point]) -> None:
        """Take a new path; the aircraft is at its first point."""
        self._path, self._leg = path, 0

    def to_go_m(self, at: Point) -> float:
        """Distance along the rest of the path."""
        rest = self._path[self._leg + 1 :]
        points = [at, *rest]
        return sum(math.dist(a, b) for a, b in itertools.pairwise(points))

    def corner_m(self, at: Point) -> float:
        """Distance to the next corner, or a long way if there is none."""
        if self._leg + 2 >= len(self._path):
            return 1e6
        return math.dist(at, self._path[self._leg + 1])

    def steer(self, m: Motion, at: Point, heading_deg: float, commands: Commands) -> None:
        """Nose wheel and rudder along the path; `heading_deg` relative to the path's frame."""
        ahead_m = clip(2.2 * m.ground_m_s, 18.0, 200.0)
        aim = self._aim(at, ahead_m)
        bearing = math.degrees(math.atan2(aim[1] - at[1], aim[0] - at[0]))
        error = turn_deg(bearing, heading_deg)
        curvature = 2 * math.sin(math.radians(error)) / ahead_m
        wheel_deg = math.degrees(math.atan(_WHEELBASE_M * curvature))
        commands.steer = clip(wheel_deg / _STEER_DEG, -1, 1) * clip(60 / max(m.ground_m_s, 1), 0, 1)
        fast = clip((m.ground_m_s - 25) / 25, 0, 1)
        commands.rudder = fast * clip(-0.08 * error + 0.04 * m.yaw_rate, -1, 1)

    def _aim(self, at: Point, ahead_m: float) -> Point:
        """The point of the path that is `ahead_m` further on."""
        while self._leg + 2 < len(self._path):
            a, b = self._path[self._leg], self._path[self._leg + 1]
            length = math.dist(a, b)
            along = ((at[0] - a[0]) * (b[0] - a[0]) + (at[1] - a[1]) * (b[1] - a[1])) / length
            if along < length:
                break
            self._leg += 1
        a, b = self._path[self._leg], self._path[self._leg + 1]
        length = math.dist(a, b)
        along = ((at[0] - a[0]) * (b[0] - a[0]) + (at[1] - a[1]) * (b[1] - a[1])) / length
        left = along + ahead_m
        leg = self._leg
        while left > length and leg + 2 < len(self._path):
            left -= length
            leg += 1
            a, b = self._path[leg], self._path[leg + 1]
            length = math.dist(a, b)
        return a[0] + (b[0] - a[0]) * left / length, a[1] + (b[1] - a[1]) * left / length

    def taxi(self, m: Motion, target_m_s: float, idle_n1: float, commands: Commands) -> None:
        """Taxi speed by N1 and brake, with a gap between the two so that they never fight."""
        error = target_m_s - m.ground_m_s
        self._power = clip(self._power + 0.8 * error * DT_S, 0, 12)
        commands.n1 = idle_n1 + clip(self._power + 5 * error, 0, 18)
        brake = clip(-0.06 * (error + 0.7), 0, 0.5)
        commands.brake += clip(brake - commands.brake, -1.0 * DT_S, 0.3 * DT_S)

    def stop(self, m: Motion, decel_m_s2: float, commands: Commands) -> None:
        """Brake to a stop at about this deceleration."""
        wanted = clip(commands.brake + 0.15 * (decel_m_s2 + m.accel_m_s2) * DT_S, 0, 1)
        commands.brake = wanted if m.ground_m_s > 0.3 else min(commands.brake + DT_S, 1.0)
