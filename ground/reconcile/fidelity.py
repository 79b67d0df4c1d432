"""The full-fidelity engine of one ESN, as reconciliation asks it.

In: an engine type, this ESN's baseline, points. Out: predictions, why there are none, and how
outputs move with health. Always holds: everything is relative to this ESN's baseline; a point
where the model does not speak is NaN with a reason, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ground.models.baseline import INPUTS, OUTPUTS, Baseline, check_type, trimmed
from shared.behaviour.formulas import CELSIUS_K, corrected_speed, theta

if TYPE_CHECKING:
    from ground.models.turbofan.engine import EngineType

Float64 = npt.NDArray[np.float64]
FULL_SCALE = {"n2": 0.0, "egt": CELSIUS_K, "ff": 0.0}
"""What is added before a ratio is taken: a ratio of temperatures is one of K."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """Predictions [n] by output in UNITS, NaN where the model does not speak, and why not."""

    outputs: dict[str, Float64]
    why: npt.NDArray[np.str_]
    """`ok`, `bad_input`, `out_of_range` or `not_converged`, [n]."""


class Fidelity(Protocol):
    """A full-fidelity engine with its baseline. points: by INPUTS, each [n]."""

    def predict(self, points: Mapping[str, Float64]) -> Spoken:
        """What this engine shows when it is as its baseline says."""
        ...

    def response(self, points: Mapping[str, Float64], change: Mapping[str, Float64]) -> Float64:
        """ln of outputs (EGT in K) with health changed by `change` over those without, [n, 3]."""
        ...

    def sensitivities(
        self, points: Mapping[str, Float64], change: Mapping[str, Float64], names: tuple[str, ...]
    ) -> Float64:
        """d ln(output) / d(parameter) at `change`, [n, 3, parameters]."""
        ...


class TurbofanFidelity:
    """Fidelity by ground.models.turbofan."""

    def __init__(self, engine: EngineType, baseline: Baseline) -> None:
        """Rejected when the baseline was fitted with another engine type."""
        check_type(engine, baseline)
        self._engine, self._baseline = engine, baseline

    def predict(self, points: Mapping[str, Float64]) -> Spoken:
        from ground.models.turbofan import solve as turbofan

        found = turbofan.solve(self._engine, _points(points), self._baseline.health)
        n1c = corrected_speed(points["n1"], theta(points["tat"]))
        outputs = trimmed(self._baseline, n1c, {x: getattr(found, x) for x in OUTPUTS})
        names = {turbofan.OK: "ok", turbofan.BAD_INPUT: "bad_input",
                 turbofan.OUT_OF_RANGE: "out_of_range",
                 turbofan.NOT_CONVERGED: "not_converged"}  # fmt: skip
        why = np.array([names.get(int(code), "not_converged") for code in found.why])
        return Spoken(outputs, why)

    def response(self, points: Mapping[str, Float64], change: Mapping[str, Float64]) -> Float64:
        from ground.models.turbofan.solve import solve

        at = _points(points)
        before = solve(self._engine, at, self._baseline.health)
        after = solve(self._engine, at, self._moved(change))
        return np.stack(
            [np.log((getattr(after, x) + FULL_SCALE[x]) / (getattr(before, x) + FULL_SCALE[x]))
             for x in OUTPUTS], axis=1,
        )  # fmt: skip

    def sensitivities(
        self, points: Mapping[str, Float64], change: Mapping[str, Float64], names: tuple[str, ...]
    ) -> Float64:
        from ground.models.turbofan.solve import sensitivities

        found = sensitivities(self._engine, _points(points), self._moved(change), names)
        return np.stack(
            [np.stack([found[name][x] for name in names], axis=1) for x in OUTPUTS], axis=1
        )

    def _moved(self, change: Mapping[str, Float64]) -> dict[str, float | Float64]:
        health: dict[str, float | Float64] = dict(self._baseline.health)
        for name, value in change.items():
            health[name] = health.get(name, 0.0) + value
        return health


def _points(points: Mapping[str, Float64]):  # type: ignore[no-untyped-def]  # heavy import inside
    from ground.models.turbofan.solve import Points

    return Points(**{name: np.asarray(points[name], np.float64) for name in INPUTS})
