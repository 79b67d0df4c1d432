"""Simulated readings of one engine over a flight: the truth is known and no aircraft is flown.

In: a schedule (N1, Mach, altitude, TAT by the second), a true engine, changes of health, sensor
biases, a seed. Out: `Rows` as the ground makes them of a flight file.
Always holds: the same seed gives the same readings; noise and steps are those of the bench's
sensors (hil/plant/sensors.py, firmware_profiles/signals/b737_bench.toml), each second a mean of
ten readings that were quantised one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ground.models.baseline import OUTPUTS
from ground.reconcile.fidelity import FULL_SCALE, Fidelity, Spoken
from ground.reconcile.health import PARAMETERS
from ground.reconcile.rows import Rows, binding_of
from shared.behaviour.formulas import corrected_speed, theta

Float64 = npt.NDArray[np.float64]
CLIMB_S = 540
PER_SECOND = 10  # readings of the groups eng1, eng2 and air
NOISE = {"n1": 0.02, "n2": 0.02, "egt": 0.6, "ff": 3.0, "mach": 0.0002, "altitude": 0.7,
         "tat": 0.12, "bleed": 0.0, "anti_ice": 0.0}  # fmt: skip
LSB = {"n1": 0.03125, "n2": 0.03125, "egt": 0.5, "ff": 4.0, "mach": 0.00025, "altitude": 1.0,
       "tat": 0.25, "bleed": 1.0, "anti_ice": 1.0}  # fmt: skip
T0_NS = 1_772_345_000_000_000_000
MISMATCH = {"n2": 0.0003, "egt": 0.001, "ff": 0.002}
"""Truth against a fitted baseline, 1 sigma, relative; see docs/reconciliation.md."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A flight by the second. columns: by quantity, [n]."""

    columns: dict[str, Float64]
    phase: npt.NDArray[np.str_]
    cruise_s: int
    """When cruise begins."""

    def __len__(self) -> int:
        return len(self.phase)


def schedule(cruise_s: int = 640, seed: int = 0) -> Schedule:
    """Climb to 18,000 ft in 9 minutes, cruise, descend at idle; as the bench's demo flies.

    seed: day, cruise level and speed differ a little from flight to flight.
    """
    rng = np.random.default_rng([seed, 7])
    climb_s, descent_s = CLIMB_S, 120
    n = climb_s + cruise_s + descent_s
    t = np.arange(n, dtype=float)
    up = np.clip(t / climb_s, 0, 1)
    since = t - climb_s
    isa, level = rng.uniform(-8, 15), rng.uniform(0.97, 1.03)
    altitude = level * 18_000 * (1.25 * up - 0.25 * up**2)
    mach = 0.30 + 0.27 * up + 0.075 * np.clip(since / 200, 0, 1)
    settling = 6 * np.exp(-np.maximum(since, 0) / 40) * np.cos(np.maximum(since, 0) / 25)
    cruise_n1 = rng.uniform(79, 82)
    n1 = np.where(since < 0, 91.2 + 2.8 * up, cruise_n1 + settling)
    n1 += 0.15 * np.sin(t / 60 + rng.uniform(0, 6)) * (since >= 0)
    idle = t - climb_s - cruise_s
    n1 = np.where(idle < 0, n1, 31 + (cruise_n1 - 31) * np.exp(-np.maximum(idle, 0) / 4))
    altitude = altitude - np.maximum(idle, 0) * 30
    static_k = 288.15 + isa - 0.0019812 * altitude
    tat = static_k * (1 + 0.2 * mach**2) - 273.15
    phase = np.where(since < 0, "climb", np.where(idle < 0, "cruise", "descent"))
    bleed, none = np.ones(n), np.zeros(n)
    columns = {"n1": n1, "mach": mach, "altitude": altitude, "tat": tat, "bleed": bleed,
               "anti_ice": none}  # fmt: skip
    return Schedule(columns, phase, climb_s)


def ramp(n: int, onset_s: float, ramp_s: float, amount: float) -> Float64:
    """A change that begins at `onset_s` and has come after `ramp_s`, [n] at middles of seconds."""
    since = np.arange(n) + 0.5 - onset_s
    grown = np.clip(since / ramp_s, 0, 1) if ramp_s > 0 else (since >= 0).astype(float)
    found: Float64 = amount * grown
    return found


def truth_of(
    flight: Schedule, engine: Fidelity, changes: Mapping[str, Float64] | None = None
) -> dict[str, Float64]:
    """What the outputs really are, [n]; where the model does not speak, something idle-like."""
    spoken = engine.predict(flight.columns)
    moved = engine.response(flight.columns, changes) if changes else np.zeros((len(flight), 3))
    idle = {"n2": 68.0, "egt": 510.0, "ff": 430.0}
    found = {}
    for i, x in enumerate(OUTPUTS):
        off = FULL_SCALE[x]
        value = (spoken.outputs[x] + off) * np.exp(moved[:, i]) - off
        found[x] = np.where(np.isfinite(value), value, idle[x])
    return found


def mismatch(flight: Schedule, seed: int, size: float = 1.0) -> Float64:
    """Relative error of a baseline over one flight, [n, 3]: constant, with N1 and with Mach, a
    third of the variance each."""
    rng = np.random.default_rng([seed, 11])
    x = (flight.columns["n1"] - 85) / 6
    y = (flight.columns["mach"] - 0.55) / 0.08
    basis = np.stack([np.ones(len(x)), np.clip(x, -2, 2), np.clip(y, -2, 2)], axis=1)
    basis /= np.sqrt((basis**2).mean(axis=0))
    each = np.array([MISMATCH[name] for name in OUTPUTS]) / np.sqrt(3)
    found: Float64 = size * basis @ (rng.standard_normal((3, len(OUTPUTS))) * each)
    return found


def readings(
    flight: Schedule, truth: Mapping[str, Float64], seed: int, position: int = 1,
    error: Float64 | None = None, biases: Mapping[str, Float64 | float] | None = None,
) -> Rows:  # fmt: skip
    """What is recorded. error: `mismatch`; biases: added to what a sensor shows, own unit."""
    rng = np.random.default_rng([seed, position])
    binding, n = binding_of(position), len(flight)
    columns, good = {}, {}
    for name, signal in binding.signals.items():
        value = truth[name] if name in truth else flight.columns[name]
        if error is not None and name in OUTPUTS:
            off = FULL_SCALE[name]
            value = (value + off) * np.exp(error[:, OUTPUTS.index(name)]) - off
        value = value + (biases or {}).get(name, 0.0)
        shown = value[:, None] + NOISE[name] * rng.standard_normal((n, PER_SECOND))
        columns[signal] = (np.rint(shown / LSB[name]) * LSB[name]).mean(axis=1)
        good[signal] = np.full(n, PER_SECOND)
    t_ns = T0_NS + np.arange(n, dtype=np.int64) * 1_000_000_000 + 500_000_000
    return Rows(t_ns, columns, good, flight.phase)


class LinearFidelity:
    """A full-fidelity engine whose answer to health is a table: slopes over corrected N1 and Mach
    and one bend a parameter, fitted to the turbofan once. Predictions are the turbofan's own.

    What many flights of one type share is solved once, so that hundreds take minutes.
    """

    def __init__(self, engine: Fidelity, slopes: Float64, bends: Float64) -> None:
        """slopes: [terms, 3, PARAMETERS]; bends: d2 ln(output) / d(parameter)2, [3, PARAMETERS]."""
        self._engine, self._slopes, self._bends = engine, slopes, bends

    def predict(self, points: Mapping[str, Float64]) -> Spoken:
        return self._engine.predict(points)

    def response(self, points: Mapping[str, Float64], change: Mapping[str, Float64]) -> Float64:
        slopes = self._at(points)
        found = np.zeros((len(slopes), len(OUTPUTS)))
        for name, x in change.items():
            i = PARAMETERS.index(name)
            amount = np.broadcast_to(np.asarray(x, float), len(found))[:, None]
            found += amount * slopes[:, :, i] + 0.5 * amount**2 * self._bends[:, i]
        return found

    def sensitivities(
        self, points: Mapping[str, Float64], change: Mapping[str, Float64], names: tuple[str, ...]
    ) -> Float64:
        found = self._at(points)
        for name, x in change.items():
            i = PARAMETERS.index(name)
            amount = np.broadcast_to(np.asarray(x, float), len(found))[:, None]
            found[:, :, i] += amount * self._bends[:, i]
        return found[:, :, [PARAMETERS.index(x) for x in names]]

    def _at(self, points: Mapping[str, Float64]) -> Float64:
        found: Float64 = np.einsum("kt,top->kop", terms(points), self._slopes)
        return found

    def mistaken(self, error: Float64, engine: Fidelity | None = None) -> LinearFidelity:
        """The same with sensitivities wrong by `error`, relative, by output."""
        factor = (1 + error)[:, None]
        return LinearFidelity(engine or self._engine, self._slopes * factor, self._bends * factor)


def terms(points: Mapping[str, Float64]) -> Float64:
    """What sensitivities are linear in: 1, corrected N1, Mach, and N1 squared; [k, 4]."""
    x = (corrected_speed(points["n1"], theta(points["tat"])) - 85) / 10
    y = (points["mach"] - 0.5) / 0.2
    found: Float64 = np.stack([np.ones_like(x), x, y, x * x], axis=1)
    return found


def linearised(engine: Fidelity, flight: Schedule, amount: float = 0.02) -> LinearFidelity:
    """Fit the table to central differences of the engine itself over one schedule."""
    spoken = engine.predict(flight.columns)
    at = np.flatnonzero(spoken.why == "ok")[::20]
    points = {name: x[at] for name, x in flight.columns.items()}
    up, down = (
        np.stack([engine.response(points, {x: np.full(len(at), sign * amount)})
                  for x in PARAMETERS], axis=2)
        for sign in (1.0, -1.0)
    )  # fmt: skip
    whole = np.isfinite(up + down).all(axis=(1, 2))
    slope, bend = (up - down) / (2 * amount), (up + down) / amount**2
    basis = terms(points)[whole]
    flat = slope[whole].reshape(len(basis), -1)
    solved = np.linalg.lstsq(basis, flat, rcond=None)[0]
    slopes = np.asarray(solved, np.float64).reshape(-1, *slope.shape[1:])
    return LinearFidelity(engine, slopes, bend[whole].mean(axis=0))
