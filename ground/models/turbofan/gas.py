"""Air and lean Jet-A products as arrays: enthalpy, entropy and heat capacity, and back.

In: temperatures in K and fuel-air ratios as float64 arrays of one shape. Out: properties **per kg
of air** in the stream (J, J/K), so that mixing is addition: H(T, f) = air(T) + f * fuel(T).
Always holds: every loop is bounded; NaN in gives NaN out and disturbs no other element.

Source: NASA nine-coefficient fits (data/gas_nasa9.json names the report), composition and
enthalpy reference as pyCycle has them: C12H23 burns completely to CO2 and H2O, fuel enters with
enthalpy zero (pyCycle's default), and nitrogen oxide is in equilibrium, which at 1600 K takes
0.3 % of the heat. Two smooth functions (air, fuel) of the mixture are fitted once at load by one
polynomial of cp each (degree 9 and 8), valid 180 to 2200 K, because a Horner scheme over arrays is
some ten times faster than two temperature ranges of nine terms for six species. Error of the fit
against the NASA polynomials: enthalpy < 20 J/kg, entropy < 0.05 J/(kg K)
(tests/unit/ground/models/test_turbofan_gas.py).

Why not Cantera: it holds one state at a time (its SolutionArray loops in Python), is 30 MB, and
would be another source of data than the reference has. What is left out: OH, CO and NO2, together
below 0.05 % of the enthalpy at 1800 K and 15 bar.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

GAS: Final = Path(__file__).parent / "data" / "gas_nasa9.json"
R_MOLAR: Final = 8.3144598  # J/(mol K), as pyCycle has it
T_LOW_K: Final = 180.0
T_HIGH_K: Final = 2200.0
_FIT_ROWS: Final = 2021
_DEGREE: Final = {"air": 9, "fuel": 8}
_SWEEPS: Final = 2
"""Newton steps of an inversion: from a guess 1 % off they leave 1e-6 K, from 5 % off 1e-3 K. The
error is a smooth function of the arguments, so it disturbs no search."""


@dataclass(frozen=True, eq=False)
class Pure:
    """One stream's coefficients, highest power of tau = T / 1000 K first."""

    cp: Float64
    h: Float64
    h0: float
    phi: Float64
    phi_log: float
    r: float

    def heat(self, tau: Float64) -> Float64:
        return _horner(self.cp, tau)

    def enthalpy(self, tau: Float64) -> Float64:
        return _horner(self.h, tau) * tau + self.h0

    def entropy(self, tau: Float64, log_tau: Float64) -> Float64:
        """At the reference pressure, without the constant that no difference needs."""
        return _horner(self.phi, tau) * tau + self.phi_log * log_tau


@dataclass(frozen=True, eq=False)
class Gas:
    """The two streams. `f` is kg of fuel in a kg of air; None means no fuel."""

    air: Pure
    fuel: Pure

    def r(self, f: Float64 | None = None) -> Float64 | float:
        return self.air.r if f is None else self.air.r + f * self.fuel.r

    def cp(self, t: Float64, f: Float64 | None = None) -> Float64:
        tau = t * 1e-3
        cp = self.air.heat(tau)
        return cp if f is None else cp + f * self.fuel.heat(tau)

    def h(self, t: Float64, f: Float64 | None = None) -> Float64:
        tau = t * 1e-3
        h = self.air.enthalpy(tau)
        return h if f is None else h + f * self.fuel.enthalpy(tau)

    def phi(self, t: Float64, f: Float64 | None = None) -> Float64:
        tau = t * 1e-3
        log_tau = np.log(tau)
        phi = self.air.entropy(tau, log_tau)
        return phi if f is None else phi + f * self.fuel.entropy(tau, log_tau)

    def t_of_h(self, h: Float64, guess: Float64, f: Float64 | None = None) -> Float64:
        """Temperature of an enthalpy: Newton from `guess`."""
        t = guess
        for _ in range(_SWEEPS):
            t = t - (self.h(t, f) - h) / self.cp(t, f)
            t = np.minimum(np.maximum(t, T_LOW_K), T_HIGH_K)
        return t

    def t_of_phi(self, phi: Float64, guess: Float64, f: Float64 | None = None) -> Float64:
        """Temperature of an entropy at the reference pressure: Newton in log T from `guess`."""
        t = guess
        for _ in range(_SWEEPS):
            step = (phi - self.phi(t, f)) / self.cp(t, f)
            t = t * np.exp(np.minimum(np.maximum(step, -0.7), 0.7))
            t = np.minimum(np.maximum(t, T_LOW_K), T_HIGH_K)
        return t

    def isentropic(
        self, t: Float64, log_ratio: Float64, f: Float64 | None = None, phi: Float64 | None = None
    ) -> Float64:
        """Temperature after a change of pressure by exp(log_ratio) at constant entropy."""
        rise = self.r(f) * log_ratio
        guess = t * np.exp(rise / self.cp(t, f) * 0.97)
        return self.t_of_phi((self.phi(t, f) if phi is None else phi) + rise, guess, f)

    def sonic(self, t_total: Float64, h_total: Float64, f: Float64 | None = None) -> Float64:
        """Static temperature where the stream moves at Mach 1. `h_total` per kg of air."""
        return self.static(t_total, h_total, np.ones_like(t_total), f)

    def static(
        self, t_total: Float64, h_total: Float64, mach: Float64, f: Float64 | None = None
    ) -> Float64:
        """Static temperature at a Mach number: h_total - h(T) = M^2 gamma R T / 2."""
        half = 0.5 * mach * mach
        r = self.r(f)
        t = t_total / (1.0 + 0.36 * half)  # gamma about 1.36, only a guess
        for _ in range(_SWEEPS):
            cp = self.cp(t, f)
            gas = half * cp / (cp - r) * r
            t = t + (h_total - self.h(t, f) - gas * t) / (cp + gas)
        return t


def _horner(coefficients: Float64, x: Float64) -> Float64:
    total: Float64 = coefficients[0] * x
    total += coefficients[1]
    for c in coefficients[2:]:
        total *= x
        total += c
    return total


def nasa9(rows: list[list[float]], t: Float64) -> tuple[Float64, Float64, Float64]:
    """cp, h and s of a species (J/mol, J/(mol K)) by its nine-coefficient fits."""
    a = np.array(rows)[(t > 1000.0).astype(int)].T
    log_t = np.log(t)
    cp = a[0] / t**2 + a[1] / t + a[2] + t * (a[3] + t * (a[4] + t * (a[5] + t * a[6])))
    h = -a[0] / t + a[1] * log_t + a[7]
    h += t * (a[2] + t * (a[3] / 2 + t * (a[4] / 3 + t * (a[5] / 4 + t * a[6] / 5))))
    s = -a[0] / 2 / t**2 - a[1] / t + a[2] * log_t + a[8]
    s += t * (a[3] + t * (a[4] / 2 + t * (a[5] / 3 + t * a[6] / 4)))
    return R_MOLAR * cp, R_MOLAR * h, R_MOLAR * s


@dataclass(frozen=True)
class Composition:
    """mol of each species: of a kg of air, and what a kg of fuel adds (oxygen taken: below 0)."""

    air: dict[str, float]
    fuel: dict[str, float]


def composition(data: dict[str, Any]) -> Composition:
    """From element ratios; the fuel burns completely."""
    weight = data["element_g_mol"]
    mass = sum(n * weight[e] for e, n in data["air_atoms"].items()) / 1000
    atoms = {e: n / mass for e, n in data["air_atoms"].items()}
    fuel_kg = sum(n * weight[e] for e, n in data["fuel_atoms"].items()) / 1000
    carbon, hydrogen = (data["fuel_atoms"][e] / fuel_kg for e in "CH")
    return Composition(
        air={"N2": atoms["N"] / 2, "O2": atoms["O"] / 2 - atoms["C"], "Ar": atoms["Ar"],
             "CO2": atoms["C"]},
        fuel={"CO2": carbon, "H2O": hydrogen / 2, "O2": -carbon - hydrogen / 4},
    )  # fmt: skip


def oxide(data: dict[str, Any], t: Float64) -> tuple[Float64, Float64]:
    """Enthalpy (J) and heat capacity of formed NO for sqrt(nN2 nO2) = 1 mol: equilibrium."""
    (_, h, s), (_, h_n, s_n), (_, h_o, s_o) = (
        nasa9(data["species"][name], t) for name in ("NO", "N2", "O2")
    )
    dh, ds = h - (h_n + h_o) / 2, s - (s_n + s_o) / 2
    formed = dh * np.exp((ds - dh / t) / R_MOLAR)
    return formed, np.gradient(formed, t)


def oxide_share(mols: Composition) -> tuple[float, float]:
    """sqrt(nN2 nO2) as a + b f, the chord over the burner's working range 0.018 to 0.032.

    Inside it the chord is within 0.5 % of the root, of a term that is 0.3 % of the heat.
    """
    low, high = 0.018, 0.032
    at = [(mols.air["N2"] * (mols.air["O2"] + f * mols.fuel["O2"])) ** 0.5 for f in (low, high)]
    slope = (at[1] - at[0]) / (high - low)
    return at[0] - slope * low, slope


def _pure(data: dict[str, Any], mols: dict[str, float], share: float, degree: int) -> Pure:
    t = np.linspace(T_LOW_K, T_HIGH_K, _FIT_ROWS)
    parts = {name: nasa9(data["species"][name], t) for name in mols}
    formed_h, formed_cp = oxide(data, t)
    cp = sum((n * parts[s][0] for s, n in mols.items()), share * formed_cp)
    h = sum((n * parts[s][1] for s, n in mols.items()), share * formed_h)
    fit = np.polynomial.Chebyshev.fit(t * 1e-3, cp, degree).convert(kind=np.polynomial.Polynomial)
    c = np.asarray(fit.coef, dtype=np.float64)
    power = np.arange(len(c))
    h_c, phi_c = 1e3 * c / (power + 1), c[1:] / power[1:]
    anchor = float(np.interp(1.0, t * 1e-3, h))  # the fit is exact in h at 1000 K
    return Pure(
        cp=c[::-1].copy(), h=h_c[::-1].copy(), h0=anchor - float(h_c.sum()),
        phi=phi_c[::-1].copy(), phi_log=float(c[0]), r=sum(mols.values()) * R_MOLAR,
    )  # fmt: skip


def read_data() -> dict[str, Any]:
    """The data file as it is."""
    data: dict[str, Any] = json.loads(GAS.read_text())
    return data


@functools.cache
def load_gas() -> Gas:
    """Both streams, fitted."""
    data = read_data()
    mols = composition(data)
    a, b = oxide_share(mols)
    return Gas(
        air=_pure(data, mols.air, a, _DEGREE["air"]),
        fuel=_pure(data, mols.fuel, b, _DEGREE["fuel"]),
    )
