"""Who flies: the stages of one flight, gate to gate.

In: `Motion` and both engines, thirty times a second. Out: `Commands` and the stage. Always holds:
stages follow one another in order and each has a way out; a flight that does not leave its stage
in time fails loudly (`StuckFlight`), it is never recorded.
"""

from __future__ import annotations

import math
from typing import Final

from hil.plant.autopilot import (
    DT_S,
    Commands,
    Motion,
    PitchLoop,
    SpeedLoop,
    Wheels,
    clip,
    hold_roll,
    hold_track,
    turn_deg,
)
from hil.plant.gaspath import N1_FLIGHT_IDLE, N1_GROUND_IDLE, State
from hil.plant.mission import Conditions, Frame, Mission, Point
from hil.plant.route import FT_M, Route
from hil.plant.stage import LONGEST_S, Levers, Stage, StuckFlight

_REFERENCE_LB: Final = 107_000.0  # the weight whose speeds were found by flying
_TAXI_M_S, _TURN_M_S = 8.0, 4.0


class Pilot:
    """Flies one mission."""

    def __init__(self, mission: Mission, conditions: Conditions) -> None:
        self.mission = mission = mission.fit(conditions)
        self.conditions = conditions
        self.stage, self.stage_s, self.done_s = Stage.PARKED, 0.0, 0.0
        self.commands = Commands()
        self.levers = Levers([False, False], [False, False])
        self._route = Route(mission)
        self._pitch, self._speed, self._wheels = PitchLoop(), SpeedLoop(), Wheels()
        self._wheels.follow(list(mission.taxi_out))
        self.cruise_ft = mission.cruise_ft or conditions.cruise_ft
        self._rotate_deg = 0.0
        self._airborne_s = 0.0
        self._taxi_from: Point = (0.0, 0.0)
        self._gamma = 0.0
        self._weight = 1.0

    def step(self, m: Motion, engines: tuple[State, State]) -> Stage:
        """Set `commands` and `levers` for the next 1/30 s."""
        self.stage_s += DT_S
        if self.stage_s > LONGEST_S[self.stage]:
            where = f"{self.mission.name}, seed {self.conditions.seed}"
            raise StuckFlight(f"{where}: does not leave {self.stage.name} at {m}")
        self._weight = math.sqrt(m.weight_lb / _REFERENCE_LB)
        getattr(self, "_" + self.stage.name.lower())(m, engines)
        return self.stage

    def _enter(self, stage: Stage) -> None:
        self.stage, self.stage_s = stage, 0.0

    # On the ground, outbound

    def _parked(self, m: Motion, engines: tuple[State, State]) -> None:
        if m.t_s >= self.mission.parked_s:
            self._enter(Stage.START)

    def _start(self, m: Motion, engines: tuple[State, State]) -> None:
        """Engine 2 first, as is usual; fuel at 21 % of N2, starter off at 55 %."""
        for i, begin_s in ((1, 0.0), (0, self.mission.start_gap_s)):
            turning = self.stage_s >= begin_s and engines[i].n2 < 55
            self.levers.starter[i] = turning
            self.levers.fuel[i] |= turning and engines[i].n2 > 21
        self.commands.n1 = N1_GROUND_IDLE
        if min(e.n2 for e in engines) > 59.5:
            self._enter(Stage.READY)

    def _ready(self, m: Motion, engines: tuple[State, State]) -> None:
        self.levers.external_power = self.stage_s < 0.5 * self.mission.before_taxi_s
        if self.mission.clean:
            self.commands.flap = 0.125
        if self.stage_s >= self.mission.before_taxi_s:
            self.levers.park_brake = False
            self._speed.arm(N1_GROUND_IDLE)
            self._enter(Stage.TAXI_OUT)

    def _taxi_out(self, m: Motion, engines: tuple[State, State]) -> None:
        self.commands.flap = 0.375
        at = self._route.departure.local(m.lat_deg, m.lon_deg)
        rest_m = self._taxi(m, at, self._route.departure)
        if rest_m < 3 or (rest_m < 15 and m.ground_m_s < 0.5):
            self._wheels.follow([at, (at[0] + 50_000, 0.0)])
            self._enter(Stage.LINE_UP)

    def _taxi(self, m: Motion, at: Point, frame: Frame) -> float:
        """Follow the path at taxi speed, slow before corners and its end; distance left."""
        rest_m = self._wheels.to_go_m(at)
        speed = _TAXI_M_S
        if self._wheels.corner_m(at) < 45 or abs(m.yaw_rate) > 2:
            speed = _TURN_M_S
        speed = min(speed, max(1.0, math.sqrt(2 * 0.3 * rest_m)))
        self._wheels.taxi(m, speed, N1_GROUND_IDLE, self.commands)
        heading = turn_deg(m.heading_deg, frame.origin.heading_deg)
        self._wheels.steer(m, at, heading, self.commands)
        return rest_m

    def _line_up(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        c.n1 = self._speed.slew(40.0 if self.stage_s > 2 else N1_GROUND_IDLE, 6)
        c.brake = min(c.brake + 0.5 * DT_S, 0.8)
        if self.stage_s > 4 and min(e.n1 for e in engines) > 35:
            self._enter(Stage.TAKEOFF)

    def _takeoff(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        c.brake = 0.0
        c.n1 = self._speed.slew(self._takeoff_n1(m), 12)
        if m.on_ground:
            self._steer_runway(m, self._route.departure)
        else:
            c.steer = c.rudder = 0.0
            self._airborne_s += DT_S
        if m.cas_kt < 140 * self._weight and m.on_ground:
            self._rotate_deg = m.pitch_deg
            return
        self._rotate_deg = min(self._rotate_deg + 2.2 * DT_S, 10.0 if m.height_ft < 20 else 13.0)
        self._pitch.hold_pitch(m, self._rotate_deg, c)
        if not m.on_ground:
            track = self._route.axis_deg(m, self._route.departure)
            hold_track(m, track, c, 10) if m.height_ft > 50 else hold_roll(m, 0.0, c)
        if self._airborne_s > 4 and m.height_ft > 100:
            c.gear = 0.0
        if m.height_ft > 400:
            self._pitch.arm(m.pitch_deg)
            self._speed.arm_path(m)
            self._speed.target_kt = m.cas_kt
            self._enter(Stage.CLIMB)

    def _takeoff_n1(self, m: Motion) -> float:
        """Rated corrected N1 at this total temperature; ram and hot air raise the figure."""
        hot = 1 + self.conditions.isa_dev_k / 288.15
        return self.conditions.takeoff_n1 * math.sqrt(hot * (1 + 0.2 * (m.tas_m_s / 340) ** 2))

    def _climb_n1(self, m: Motion) -> float:
        """Climb rating: a corrected N1 that rises with altitude; a hop climbs at less."""
        theta = 1 + (self.conditions.isa_dev_k - 0.0019812 * m.altitude_ft) / 288.15
        theta += (m.tas_m_s / 761) ** 2  # ram rise over 288.15 K: V^2 / (2 cp)
        rating = self.conditions.climb_n1 + 9 * m.altitude_ft / 24_000
        return min((rating if self.mission.clean else rating - 8) * math.sqrt(theta), 99.0)

    def _steer_runway(self, m: Motion, frame: Frame) -> None:
        at = frame.local(m.lat_deg, m.lon_deg)
        self._wheels.steer(m, at, turn_deg(m.heading_deg, frame.origin.heading_deg), self.commands)
        hold_roll(m, 0.0, self.commands)

    # In the air

    def _navigate(self, m: Motion) -> float:
        """Steer along the route; distance to go, m."""
        track_deg, to_go_m = self._route.guide(m)
        hold_track(m, track_deg, self.commands)
        return to_go_m

    def _flaps_up(self, m: Motion) -> None:
        if self.mission.clean:
            c, w = self.commands, self._weight
            c.flap = 0.0 if m.cas_kt > 205 * w else 0.125 if m.cas_kt > 185 * w else 0.375

    def _climb(self, m: Motion, engines: tuple[State, State]) -> None:
        c, mission = self.commands, self.mission
        self._flaps_up(m)
        target = 250.0 if m.altitude_ft < 9_800 else 270.0
        if not mission.clean:
            target = 165.0
        elif m.height_ft < 1500:
            target = 165 * self._weight
        self._speed.aim(m, target, 1.2)
        n1 = self._climb_n1(m)
        if mission.clean and m.height_ft < 1000:
            n1 = self._takeoff_n1(m)
        c.n1 = self._speed.slew(n1, 2)
        gamma = self._speed.by_path(m, 0.5, 9.0)
        self._hold(m, min(gamma, self._gamma_to(m, self.cruise_ft)))
        to_go_m = self._navigate(m)
        if m.altitude_ft > self.cruise_ft - 150 or self._route.profile_ft(to_go_m) < m.altitude_ft:
            self._speed.arm(c.n1 - 8)
            self._enter(Stage.CRUISE)

    def _gamma_to(self, m: Motion, altitude_ft: float, floor: float = -6.0) -> float:
        """Path angle that comes to an altitude without overshoot."""
        climb_m_s = 0.09 * (altitude_ft - m.altitude_ft) * FT_M
        return clip(math.degrees(math.atan2(climb_m_s, max(m.ground_m_s, 50))), floor, 9.0)

    def _hold(self, m: Motion, gamma_deg: float, quick: float = 1.0) -> None:
        """Slew to a path angle and hold it."""
        self._gamma += clip(gamma_deg - self._gamma, -1.2 * DT_S, 1.2 * DT_S)
        self._pitch.hold_gamma(m, self._gamma, self.commands, quick)

    def _cruise(self, m: Motion, engines: tuple[State, State]) -> None:
        target = 160.0
        if self.mission.clean:
            step = self.conditions.cruise_step_kt if self.stage_s > 180 else 0.0
            target = self.conditions.cruise_kt + step
        self._speed.aim(m, target, 0.7)
        gamma = self._gamma_to(m, self.cruise_ft)
        self._hold(m, gamma)
        self.commands.n1 = self._speed.by_thrust(m, gamma, N1_FLIGHT_IDLE, 94.0)
        if self._route.profile_ft(self._navigate(m)) < self.cruise_ft - 30:
            self._enter(Stage.DESCENT)

    def _descent(self, m: Motion, engines: tuple[State, State]) -> None:
        to_go_m = self._navigate(m)
        self._follow_profile(m, to_go_m, self._descent_kt(m, to_go_m))
        over = m.cas_kt - self._speed.target_kt
        wanted = clip((over - 8) / 25, 0, 0.6) if self.commands.flap < 0.3 else 0.0
        self._air_brake(wanted)
        if to_go_m < self._route.intercept_m + (4500 if self.mission.clean else 1200):
            self._enter(Stage.APPROACH)

    def _air_brake(self, wanted: float) -> None:
        c = self.commands
        c.speed_brake += clip(wanted - c.speed_brake, -0.2 * DT_S, 0.1 * DT_S)

    def _descent_kt(self, m: Motion, to_go_m: float) -> float:
        if not self.mission.clean:
            return 160.0
        if m.altitude_ft > 10_800:
            return 285.0
        return 245.0 if to_go_m > 40_000 else 215.0 if to_go_m > 30_000 else 190.0

    def _follow_profile(self, m: Motion, to_go_m: float, target_kt: float) -> None:
        c = self.commands
        profile_ft = self._route.profile_ft(to_go_m)
        ahead_ft = self._route.profile_ft(to_go_m - 4 * m.ground_m_s)
        slope = math.degrees(math.atan2((ahead_ft - profile_ft) * FT_M, 4 * m.ground_m_s))
        miss_deg = math.degrees(0.07 * (profile_ft - m.altitude_ft) * FT_M / max(m.ground_m_s, 50))
        gamma = clip(slope + clip(miss_deg, -1.5, 1.5), -4.5, 1.0)
        self._speed.aim(m, target_kt, 0.9)
        self._hold(m, gamma)
        c.n1 = self._speed.by_thrust(m, gamma, N1_FLIGHT_IDLE, 90.0)
        if m.altitude_ft < 8000 and self.mission.clean and m.cas_kt < 222:
            c.flap = max(c.flap, 0.125 if m.cas_kt > 200 else 0.25)

    def _approach(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        to_go_m = self._navigate(m)
        final = to_go_m < self._route.intercept_m + 500
        self._air_brake(0.0)
        c.gear = 1.0
        c.flap = max(c.flap, 0.375)
        if final and m.cas_kt < 178:
            c.flap = max(c.flap, 0.75)
        if final and m.cas_kt < 160:
            c.flap = 1.0
        self._follow_profile(m, to_go_m, 138 * self._weight if final else 170.0)
        if m.height_ft < 45:
            self._enter(Stage.FLARE)

    def _flare(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        sink_m_s = clip(0.6 + m.height_ft * FT_M / 4.2, 0.6, 4.0)
        gamma = -math.degrees(math.atan2(sink_m_s, max(m.ground_m_s, 40)))
        self._gamma += clip(gamma - self._gamma, -2.0 * DT_S, 2.0 * DT_S)
        self._pitch.hold_gamma(m, self._gamma, c, 1.6)
        c.n1 = self._speed.slew(N1_FLIGHT_IDLE if m.height_ft < 25 else c.n1, 6)
        hold_track(m, self._route.axis_deg(m, self._route.arrival), c, 5)
        if m.on_ground:
            at = self._route.arrival.local(m.lat_deg, m.lon_deg)
            self._wheels.follow([at, (at[0] + 50_000, 0.0)])
            self._rotate_deg = m.pitch_deg
            self._enter(Stage.ROLLOUT)

    # On the ground, inbound

    def _rollout(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        c.ground_spoiler = c.speed_brake = 1.0
        if m.cas_kt > 80:
            self._rotate_deg = max(self._rotate_deg - 1.5 * DT_S, 0.0)
            self._pitch.hold_pitch(m, self._rotate_deg, c)
        else:
            self._pitch.release(c)
        self._steer_runway(m, self._route.arrival)
        reverse = self.stage_s > 1.5 and m.ground_m_s > 32
        self.levers.deployed = clip(self.levers.deployed + (0.6 if reverse else -0.6) * DT_S, 0, 1)
        c.reverse = self.levers.deployed
        c.n1 = self._speed.slew(70.0 if reverse and c.reverse > 0.9 else N1_GROUND_IDLE, 8)
        if self.stage_s > 2.5:
            self._wheels.stop(m, 2.2, c)
        if m.ground_m_s < 9:
            at = self._route.arrival.local(m.lat_deg, m.lon_deg)
            self._taxi_from = (at[0] + 10, 0.0)
            base = self._taxi_from[0]
            path = [(base + p[0], p[1]) for p in self.mission.taxi_in]
            self._wheels.follow([at, *path[1:]])
            self._enter(Stage.TAXI_IN)

    def _taxi_in(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        c.ground_spoiler = c.speed_brake = 0.0
        c.reverse = self.levers.deployed = max(self.levers.deployed - 0.6 * DT_S, 0.0)
        c.flap = 0.0 if self.stage_s > 5 else c.flap
        self._pitch.release(c)
        c.aileron = c.rudder = 0.0
        rest_m = self._taxi(m, self._route.arrival.local(m.lat_deg, m.lon_deg), self._route.arrival)
        if rest_m < 2 or (rest_m < 15 and m.ground_m_s < 0.5):
            self._enter(Stage.PARK)

    def _park(self, m: Motion, engines: tuple[State, State]) -> None:
        c = self.commands
        c.n1, c.steer = N1_GROUND_IDLE, 0.0
        c.brake = min(c.brake + 0.3 * DT_S, 1.0)
        if not self.levers.park_brake and m.ground_m_s < 0.03 and c.brake > 0.9:
            self.levers.park_brake = True
            self.done_s = m.t_s
        if not self.levers.park_brake:
            return
        since_s = m.t_s - self.done_s
        self.levers.external_power = since_s > 0.4 * self.mission.shutdown_s
        if since_s > self.mission.shutdown_s:
            self.levers.fuel = [False, False]
            self._enter(Stage.SHUT_DOWN)

    def _shut_down(self, m: Motion, engines: tuple[State, State]) -> None:
        self.commands.brake, self.commands.n1 = 1.0, 0.0

    @property
    def over(self) -> bool:
        return self.stage is Stage.SHUT_DOWN

    @property
    def departure(self) -> Frame:
        """The departure runway's frame."""
        return self._route.departure
