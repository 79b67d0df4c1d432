"""A full-fidelity engine made of a few formulas, for tests: the turbofan itself is tested elsewhere.

Its sensitivities are those of ground.models.turbofan at 18,000 ft, Mach 0.643, N1 80.3 %, rounded;
`bend` makes it answer less than linearly.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ground.models.baseline import Baseline
from ground.reconcile.fidelity import Spoken
from ground.reconcile.health import PARAMETERS

Float64 = npt.NDArray[np.float64]
SLOPES = np.array(
    [
        [-0.103, 0.131, -0.075, 0.061, 0.110, -0.202, 0.146, -0.036, -0.083, 0.132],
        [-0.371, 0.450, -0.162, 0.048, -0.824, -0.067, -1.089, 0.174, -0.374, -0.371],
        [-0.896, 1.513, -0.204, 0.155, -0.754, -0.062, -0.962, 0.140, -1.088, 0.137],
    ]
)
BEND = -0.6
"""d2 ln(output) / d(parameter)2 over the slope: 3 % answers by 0.9 % less than the slope says."""
N1C_MIN = 45.0


class FakeEngine:
    """Fidelity of formulas. deaf: seconds from the start in which it does not converge; error:
    relative, of its sensitivities by output."""

    def __init__(
        self, n1c_min: float = N1C_MIN, deaf: slice | None = None, error: Float64 | float = 0.0
    ) -> None:
        self._n1c_min, self._deaf = n1c_min, deaf
        self._slopes = SLOPES * (1 + np.broadcast_to(np.asarray(error), 3))[:, None]

    def predict(self, points: Mapping[str, Float64]) -> Spoken:
        theta = (points["tat"] + 273.15) / 288.15
        n1c = points["n1"] / np.sqrt(theta)
        delta = (1 - 6.8756e-6 * points["altitude"]) ** 5.2559 * (
            1 + 0.2 * points["mach"] ** 2
        ) ** 3.5
        outputs = {
            "n2": (60 + 0.45 * n1c) * np.sqrt(theta),
            "egt": (700 + 4.2 * n1c) * theta * (1 + 0.012 * points["bleed"]) - 273.15,
            "ff": (0.55 * n1c**2 - 20 * n1c) * delta * np.sqrt(theta),
        }
        why = np.where(n1c >= self._n1c_min, "ok", "out_of_range").astype("U16")
        if self._deaf is not None:
            why[self._deaf] = "not_converged"
        bad = ~np.isfinite(np.stack(list(points.values()))).all(axis=0)
        why[bad] = "bad_input"
        return Spoken({x: np.where(why == "ok", y, np.nan) for x, y in outputs.items()}, why)

    def response(self, points: Mapping[str, Float64], change: Mapping[str, Float64]) -> Float64:
        found = np.zeros((len(points["n1"]), 3))
        for name, x in change.items():
            amount = np.broadcast_to(np.asarray(x, float), len(found))[:, None]
            found += self._slopes[:, PARAMETERS.index(name)] * (amount - 0.5 * BEND * amount**2)
        return found

    def sensitivities(
        self, points: Mapping[str, Float64], change: Mapping[str, Float64], names: tuple[str, ...]
    ) -> Float64:
        index = [PARAMETERS.index(x) for x in names]
        return np.broadcast_to(self._slopes[:, index], (len(points["n1"]), 3, len(index))).copy()


def baseline_of(esn: str, **changes: object) -> Baseline:
    """An approved baseline of the fake engine."""
    return Baseline(
        esn=esn, part_number="CFM56-3B-1", engine_type="fake", engine_type_sha256="00" * 32,
        health={}, rows=1000, source="test", event="pass-off", approved_by="engineering",
        sigma={"n2": 0.03, "egt": 1.0, "ff": 4.0}, smoothed_rms={"n2": 0.02, "egt": 0.9, "ff": 3.0},
        **changes,  # type: ignore[arg-type]  # of the test
    )  # fmt: skip


class FakeType:
    """Stands for an engine type: a name and a hash."""

    name, sha256 = "fake", "00" * 32
