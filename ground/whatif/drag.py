"""Drag: how much more thrust a heavier aircraft needs in level, steady flight.

In: Mach, pressure altitude, weight. Out: drag. Always holds: it is used as a ratio of two drags at
one Mach and altitude, so that the engine's own thrust stays the measure; take-off, climb and descent
are not level flight and get no answer.

Source: the clean 737 of JSBSim 1.3.3 (aircraft/737/737.xml, Aeromatic and D. Culp), which the bench
flies too: wing 1171 ft2, CD0 0.021 to 0.042 at 0.26 rad of incidence, CL 0.2 + 4.348 a, CDi 0.043
CL2, and its rise above Mach 0.79. Its author calls it a model that seems to fly right, not validated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.behaviour.formulas import delta

Float64 = npt.NDArray[np.float64]
WING_M2 = 1171.0 * 0.3048**2
CD0, CD_ALPHA = 0.0210, (0.0420 - 0.0210) / 0.26
CL0, CL_ALPHA = 0.20, (1.20 - 0.20) / 0.23
INDUCED = 0.043
RISE_FROM, RISE = 0.79, 0.0230 / (1.10 - 0.79)
P0_PA, G = 101_325.0, 9.80665
CL_MAX = 1.20  # of the table; beyond it the wing stalls


def drag_n(mach: Float64, altitude_ft: Float64, mass_kg: float) -> Float64:
    """Drag in level flight, N; NaN where the wing cannot carry the weight."""
    static_pa = P0_PA * delta(altitude_ft, np.zeros_like(mach))
    q_pa = 0.7 * static_pa * mach * mach
    with np.errstate(divide="ignore", invalid="ignore"):  # at rest nothing is carried
        lift = mass_kg * G / (q_pa * WING_M2)
        incidence = np.abs(lift - CL0) / CL_ALPHA
        rise = RISE * np.maximum(mach - RISE_FROM, 0.0)
        drag = q_pa * WING_M2 * (CD0 + CD_ALPHA * incidence + INDUCED * lift * lift + rise)
    return np.where(lift <= CL_MAX, drag, np.nan)
