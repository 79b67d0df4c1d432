"""One flight as truth: airframe, engines, systems and pilot stepped together.

In: mission, conditions, ESNs, degradation. Out: a `Trace` of what really was, before any sensor.
Always holds: deterministic; nothing here knows of signals, noise or buses.
"""

from __future__ import annotations

import math
from array import array
from typing import Final

import numpy as np

from hil.plant.airframe import FT_M, STANDING_FT, Airframe
from hil.plant.autopilot import DT_S, Commands, Motion
from hil.plant.gaspath import SOUND, Demand, Engine, Health, Inlet
from hil.plant.mission import Conditions, Degradation, Mission, Place
from hil.plant.pilot import Pilot
from hil.plant.stage import Levers, Stage
from hil.plant.systems import Services, Systems
from hil.plant.trace import FAST_STEPS, SLOW_STEPS, Trace, columns_of, row_of, without_spikes
from shared.phases import Phase

_R_AIR: Final = 287.05
_STAND_S, _SETTLE_S = (
    100.0,
    20.0,
)  # of a stop: moves of itself, then is held; moves again before it starts

FAST: Final = {
    "acc_long": "accelerations/n-pilot-x-norm",
    "acc_lat": "accelerations/n-pilot-y-norm",
    "acc_norm": "accelerations/n-pilot-z-norm",
    "pitch_rate": "velocities/q-rad_sec",
    "roll_rate": "velocities/p-rad_sec",
    "yaw_rate": "velocities/r-rad_sec",
    "pitch": "attitude/theta-deg",
    "roll": "attitude/phi-deg",
    "heading": "attitude/psi-deg",
}

_MOTION: Final = (
    "velocities/v-north-fps", "velocities/v-east-fps", "velocities/h-dot-fps",
    "velocities/vg-fps", "attitude/psi-deg", "position/lat-geod-deg", "position/long-gc-deg",
    "position/h-agl-ft", "atmosphere/pressure-altitude", "velocities/vc-kts",
    "velocities/vtrue-fps", "attitude/theta-deg", "attitude/phi-deg", "velocities/q-rad_sec",
    "velocities/p-rad_sec", "velocities/r-rad_sec", "aero/qbar-psf", "atmosphere/P-psf",
    "inertia/weight-lbs", "gear/unit[1]/WOW", "gear/unit[2]/WOW",
)  # fmt: skip

_PHASE: Final = {
    Stage.PARKED: Phase.PARKED, Stage.START: Phase.PARKED, Stage.READY: Phase.PARKED,
    Stage.TAXI_OUT: Phase.TAXI_OUT, Stage.LINE_UP: Phase.TAXI_OUT, Stage.TAKEOFF: Phase.TAKEOFF,
    Stage.CLIMB: Phase.CLIMB, Stage.CRUISE: Phase.CRUISE, Stage.DESCENT: Phase.DESCENT,
    Stage.APPROACH: Phase.APPROACH, Stage.FLARE: Phase.LANDING, Stage.ROLLOUT: Phase.LANDING,
    Stage.TAXI_IN: Phase.TAXI_IN, Stage.PARK: Phase.TAXI_IN, Stage.SHUT_DOWN: Phase.PARKED,
}  # fmt: skip


class Simulation:
    """The loop of one flight."""

    def __init__(
        self,
        mission: Mission,
        conditions: Conditions,
        esns: tuple[str, str],
        degradation: Degradation | None,
    ) -> None:
        self.pilot = Pilot(mission, conditions)
        lat, lon = self.pilot.departure.geodetic(mission.stand)
        heading = (mission.runway.heading_deg + mission.stand_heading_deg) % 360
        self._airframe = Airframe(Place(lat, lon, heading), conditions)
        ambient_k = 288.15 + conditions.isa_dev_k
        self._engines = (Engine(esns[0], ambient_k), Engine(esns[1], ambient_k))
        self._systems = Systems(mission, conditions)
        self._mission, self._conditions, self._degradation = mission, conditions, degradation
        self._speed_m_s, self._accel = 0.0, 0.0
        self._row: dict[str, float] = {}
        self._slow, self._fast = array("d"), array("d")  # rows, flat
        self._read_fast = self._airframe.reader(FAST.values())
        self._read_motion = self._airframe.reader(_MOTION)
        self._onset_s: float | None = None
        self._phase_s: dict[str, float] = {}

    def run(self) -> Trace:
        """Fly to the end of the parked tail."""
        a, pilot, tick = self._airframe, self.pilot, 0
        stages: list[tuple[float, str]] = []
        was, on_ground, off_s, on_s, sink = None, True, 0.0, 0.0, 0.0
        while True:
            t_s = tick * DT_S
            m = self._motion(t_s)
            stage = pilot.step(m, (self._engines[0].state, self._engines[1].state))
            if stage is not was:
                stages.append((t_s, stage.name))
                self._phase_s.setdefault(_PHASE[stage].value, t_s)
                was = stage
            if on_ground and not m.on_ground and not off_s:
                off_s = t_s
            if m.on_ground and not on_ground:
                on_s = t_s
                sink = sink or -self._row["climb_m_s"] / FT_M
            on_ground = m.on_ground
            services = self._tick(m, stage)
            self._row = row_of(m, stage, pilot.commands, pilot.levers, services, self._engines, a)
            self._slow.extend(self._row.values())
            if pilot.over and t_s >= pilot.done_s + self._mission.tail_s:
                break
            for step in range(SLOW_STEPS):
                if step % FAST_STEPS == 0:
                    self._fast.extend(self._read_fast())
                if not self._stands(stage, t_s):
                    a.step()
            tick += 1
        return self._trace(stages, off_s, on_s, sink)

    def _stands(self, stage: Stage, t_s: float) -> bool:
        """Whether the airframe is held as it is: JSBSim's friction on braked wheels grows a pitch
        oscillation that throws a standing aircraft over after some 400 s."""
        if stage is Stage.PARKED:
            return _STAND_S < t_s < self._mission.parked_s - _SETTLE_S
        return self.pilot.over and t_s > self.pilot.done_s + _STAND_S

    def _tick(self, m: Motion, stage: Stage) -> Services:
        pilot, a = self.pilot, self._airframe
        states = (self._engines[0].state, self._engines[1].state)
        services = self._systems.step(m, states, pilot.levers, stage, pilot.stage_s)
        static_k, static_pa = a["atmosphere/T-R"] / 1.8, a["atmosphere/P-psf"] * 47.880259
        tas = m.tas_m_s if m.tas_m_s > 15 else 0.0
        inlet = Inlet(static_k, static_pa, tas / math.sqrt(1.4 * _R_AIR * static_k), tas)
        for i, engine in enumerate(self._engines):
            lost = self._lost(m.t_s) if self._ails(i) else SOUND
            demand = Demand(
                n1=pilot.commands.n1,
                starter=pilot.levers.starter[i],
                fuel=pilot.levers.fuel[i],
                bleed=services.bleed[i],
                anti_ice=services.anti_ice[i],
                reverse=pilot.commands.reverse,
            )
            thrust = engine.step(DT_S, inlet, demand, lost).thrust_lb
            a[f"external_reactions/thrust-{i + 1}/magnitude"] = thrust
        for i, lb in enumerate(services.tanks_lb):
            a[f"propulsion/tank[{i}]/contents-lbs"] = lb
        self._blow(m)
        _move(a, pilot.commands, pilot.levers)
        return services

    def _ails(self, index: int) -> bool:
        return self._degradation is not None and self._degradation.engine == index + 1

    def _lost(self, t_s: float) -> Health:
        """Health lost now; remembers when it began."""
        d = self._degradation
        if d is None or d.phase not in self._phase_s:
            return SOUND
        onset_s = self._phase_s[d.phase] + d.after_s
        if t_s < onset_s:
            return SOUND
        if self._onset_s is None:
            self._onset_s = onset_s
        return {d.parameter: -d.percent_at(t_s - onset_s) / 100}

    def _blow(self, m: Motion) -> None:
        """Steady wind; it grows and veers with height."""
        c = self._conditions
        share = min(max(m.height_ft, 0.0) / 20_000, 1.0) ** 0.6
        fps = (c.wind_kt + (c.wind_aloft_kt - c.wind_kt) * share) * 1.68781
        to = math.radians(self._mission.runway.heading_deg + c.wind_from_deg + 20 * share + 180)
        self._airframe["atmosphere/wind-north-fps"] = fps * math.cos(to)
        self._airframe["atmosphere/wind-east-fps"] = fps * math.sin(to)

    def _motion(self, t_s: float) -> Motion:
        (
            north, east, climb, ground, heading, lat, lon, height, altitude, cas, tas, pitch, roll,
            q, p, r, qbar, pressure, weight, left, right,
        ) = self._read_motion()  # fmt: skip
        climb, ground = climb * FT_M, ground * FT_M
        speed = math.hypot(ground, climb)
        self._accel += ((speed - self._speed_m_s) / DT_S - self._accel) * DT_S / 0.5
        self._speed_m_s = speed
        return Motion(
            t_s=t_s,
            lat_deg=lat,
            lon_deg=lon,
            height_ft=height - STANDING_FT,
            altitude_ft=altitude,
            cas_kt=cas,
            tas_m_s=tas * FT_M,
            ground_m_s=ground,
            climb_m_s=climb,
            pitch_deg=pitch,
            roll_deg=roll,
            heading_deg=heading,
            track_deg=math.degrees(math.atan2(east, north)) % 360 if ground > 2 else heading,
            pitch_rate=math.degrees(q),
            roll_rate=math.degrees(p),
            yaw_rate=math.degrees(r),
            qbar_psf=qbar,
            accel_m_s2=self._accel,
            delta=pressure / 2116.22,
            weight_lb=weight,
            on_ground=left > 0.5 or right > 0.5,
        )

    def _trace(
        self, stages: list[tuple[float, str]], off_s: float, on_s: float, sink: float
    ) -> Trace:
        slow, fast = columns_of(self._slow, list(self._row)), columns_of(self._fast, list(FAST))
        fast["acc_norm"] = -fast["acc_norm"]
        for name in ("acc_long", "acc_lat", "acc_norm"):
            fast[name] = without_spikes(fast[name])
        for name in ("pitch_rate", "roll_rate", "yaw_rate"):
            fast[name] = np.degrees(fast[name])
        at = {name: t for t, name in reversed(stages)}
        phases: list[tuple[float, str]] = []
        for t_s, name in stages:
            phase = _PHASE[Stage[name]].value
            if not phases or phases[-1][1] != phase:
                phases.append((t_s, phase))
        return Trace(
            slow=slow,
            fast=fast,
            stages=tuple(stages),
            phases=tuple(phases),
            out_s=at["TAXI_OUT"],
            off_s=off_s,
            on_s=on_s,
            in_s=self.pilot.done_s,
            touchdown_fps=sink,
            onset_s=self._onset_s,
            end_s=(len(slow["stage"]) - 1) * DT_S,
        )


def _move(a: Airframe, c: Commands, levers: Levers) -> None:
    """Hand the commands to the airframe."""
    brake = 1.0 if levers.park_brake else c.brake
    a["fcs/elevator-cmd-norm"], a["fcs/pitch-trim-cmd-norm"] = c.elevator, c.trim
    a["fcs/aileron-cmd-norm"], a["fcs/rudder-cmd-norm"] = c.aileron, c.rudder
    a["fcs/steer-cmd-norm"] = c.steer
    a["fcs/left-brake-cmd-norm"] = a["fcs/right-brake-cmd-norm"] = brake
    a["fcs/flap-cmd-norm"], a["gear/gear-cmd-norm"] = c.flap, c.gear
    a["fcs/speedbrake-cmd-norm"], a["fcs/spoiler-cmd-norm"] = c.speed_brake, c.ground_spoiler
