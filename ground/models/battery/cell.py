"""One cell as data: an equivalent circuit with two diffusion lags, heat and ageing.

In: a TOML file, or numbers a fit has found. Out: a frozen `Cell`; several become one by `stack`.
Always holds: every number is finite and inside the bounds below, so that a step of any length is
stable; where its numbers come from is said in `source`.

Circuit and open-circuit curve: L. Chen and G. A. Rincon-Mora, "Accurate Electrical Battery Model
Capable of Predicting Runtime and I-V Performance", IEEE Trans. Energy Conversion 21(2), 2006.
Heat: one lump, Joule and entropic heat after D. Bernardi, E. Pawlikowski, J. Newman, "A General
Energy Balance for Battery Systems", J. Electrochem. Soc. 132, 1985. Ageing: capacity falls with a
power of the charge moved, the form of J. Wang et al., J. Power Sources 196, 2011; resistance grows
linearly with it (assumption).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ground.models.model import Float64
from shared.errors import Rejected

CELLS = Path(__file__).parent
Number = float | Float64
"""One value, or one for each cell of a stack."""

BOUNDS: dict[str, tuple[float, float]] = {
    "capacity_ah": (1e-3, 1e4), "knee_v": (-5.0, 0.0), "knee_rate": (1.0, 200.0),
    "ocv_0_v": (0.5, 6.0), "ocv_1_v": (-5.0, 5.0), "ocv_2_v": (-10.0, 10.0), "ocv_3_v": (-10.0, 10.0),
    "r0_ohm": (1e-6, 10.0), "r0_empty_ohm": (0.0, 10.0), "r0_empty_rate": (1.0, 200.0),
    "r1_ohm": (1e-6, 10.0), "tau1_s": (0.1, 1e5), "r2_ohm": (1e-6, 10.0), "tau2_s": (0.1, 1e6),
    "activation_k": (0.0, 1e4), "reference_cel": (-20.0, 60.0), "entropy_v_per_k": (-2e-3, 2e-3),
    "heat_capacity_j_per_k": (1e-2, 1e6), "heat_resistance_k_per_w": (1e-3, 1e4),
    "fade": (0.0, 0.5), "fade_power": (0.2, 2.0), "growth": (0.0, 0.5),
    "cutoff_v": (0.5, 5.0), "current_max_a": (1e-3, 1e4),
}  # fmt: skip
"""Widest that a fit may propose; assumptions, far outside any cell we know."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """Numbers of one cell, or of a stack of cells (each field then [m]).

    Open-circuit voltage at charge s: knee_v exp(-knee_rate s) + ocv_0_v + ocv_1_v s + ocv_2_v s^2
    + ocv_3_v s^3. Series resistance: (r0_ohm + r0_empty_ohm exp(-r0_empty_rate s)) f(T), f Arrhenius,
    1 at reference_cel, activation_k being the activation energy over the gas constant; the lags'
    resistances follow the same f. Ageing by full cycles n: capacity x (1 - fade n^fade_power),
    resistances x (1 + growth n).
    """

    name: str
    source: str
    capacity_ah: Number
    knee_v: Number
    knee_rate: Number
    ocv_0_v: Number
    ocv_1_v: Number
    ocv_2_v: Number
    ocv_3_v: Number
    r0_ohm: Number
    r0_empty_ohm: Number
    r0_empty_rate: Number
    r1_ohm: Number
    tau1_s: Number
    r2_ohm: Number
    tau2_s: Number
    activation_k: Number
    reference_cel: Number
    entropy_v_per_k: Number
    heat_capacity_j_per_k: Number
    heat_resistance_k_per_w: Number
    fade: Number
    fade_power: Number
    growth: Number
    cutoff_v: Number
    current_max_a: Number

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = np.asarray(getattr(self, name), float)
            if not ((value >= low) & (value <= high)).all():
                what = f"{name} is {np.asarray(value).ravel()[:3]}, not in {low:g} to {high:g}"
                raise Rejected(what, f"cell {self.name}", "correct the cell's numbers")

    @property
    def sha256(self) -> str:
        """Of the numbers, however they were written."""
        numbers = {k: np.asarray(getattr(self, k), float).tolist() for k in sorted(BOUNDS)}
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()

    def replaced(self, **numbers: Number) -> Cell:
        """The same cell with other numbers."""
        return dataclasses.replace(self, **numbers)  # type: ignore[arg-type]  # fields by name


def stack(cells: Sequence[Cell]) -> Cell:
    """One `Cell` of arrays [m], so that `simulate` moves all of them at once."""
    if not cells:
        raise Rejected("no cells", "stack", "give at least one")
    numbers: dict[str, Any] = {k: np.array([getattr(x, k) for x in cells], float) for k in BOUNDS}
    return Cell(name="+".join(dict.fromkeys(x.name for x in cells)), source="stack", **numbers)


def load_cell(name: str = "chen_850mah") -> Cell:
    """The cell of that name in this folder."""
    path = CELLS / f"{name}.toml"
    try:
        return parse_cell(path.read_bytes(), str(path))
    except OSError as error:
        known = ", ".join(sorted(x.stem for x in CELLS.glob("*.toml")))
        raise Rejected(
            f"no cell {name!r}: {error.strerror}", str(path), f"one of {known}"
        ) from None


def parse_cell(data: bytes, where: str) -> Cell:
    """A cell from TOML; unknown and missing keys are refused by name."""
    try:
        found = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Rejected(f"not TOML: {error}", where, "correct the file") from None
    wanted = {x.name for x in dataclasses.fields(Cell)}
    if set(found) != wanted:
        odd = [f"no key {x!r}" for x in sorted(set(found) - wanted)]
        odd += [f"key {x!r} is missing" for x in sorted(wanted - set(found))]
        raise Rejected("; ".join(odd), where, "correct the cell's keys")
    for key in BOUNDS:
        if isinstance(found[key], bool) or not isinstance(found[key], int | float):
            raise Rejected(f"{key} is not a number", where, "correct the cell's keys")
    return Cell(**found)
