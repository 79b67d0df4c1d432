"""The baseline of one engine: what this serial number shows when it is as it should be.

In: the engine type, a `Baseline` and what the aircraft measures. Out: N2, EGT and fuel flow of
that engine, healthy. Always holds: where the full-fidelity model gives no number there is none
here; a baseline is a value, made by a fit and approved with a maintenance event, and nothing in
this module changes one (ground/calibrate/baselines.py keeps them).

The engine's own health and its trims come on top of the type: health parameters are what pass-off
rows show within their prior, trims are what is left over, a low polynomial in corrected N1.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from shared.behaviour.formulas import CELSIUS_K, corrected_speed, theta
from shared.errors import Rejected

if TYPE_CHECKING:
    from ground.models.turbofan.engine import EngineType
    from ground.models.turbofan.solve import Points

Float64 = npt.NDArray[np.float64]
VERSION = 1
INPUTS = ("n1", "mach", "altitude", "tat", "bleed", "anti_ice")
OUTPUTS = ("n2", "egt", "ff")
UNITS = {"n2": "%", "egt": "Cel", "ff": "kg/h"}
N1C_CENTRE, N1C_SPAN = 80.0, 20.0
"""Trims are polynomials in (corrected N1 - 80 %) / 20 %."""
BYTES_MAX = 64 * 1024
TRIM_TERMS_MAX = 6

Number = Annotated[float, Meta(ge=-1e9, le=1e9)]


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ESN's healthy self. Residuals are of rows that were not fitted, own unit."""

    v: int = VERSION
    esn: str
    part_number: str
    engine_type: str
    engine_type_sha256: str
    health: dict[str, Number]
    """Relative change of the health parameters against the type, as fractions."""
    health_sigma: dict[str, Number] = {}
    trims: dict[str, tuple[Number, ...]] = {}
    """Output to (c0, c1, …): it is multiplied by 1 + c0 + c1 x + …; EGT in K."""
    n1c: tuple[float, float] = (0.0, 200.0)
    """Corrected N1 of the rows that were fitted, %; trims are held constant beyond."""
    sigma: dict[str, Number] = {}
    """Of one steady row of 1 s."""
    smoothed_rms: dict[str, Number] = {}
    """As the monitors aboard smooth it, over `smoothing_s`."""
    smoothed_worst: dict[str, Number] = {}
    smoothing_s: float = 0.0
    rows: int
    source: str
    event: str = ""
    """The maintenance event that it was approved with; empty while it is a proposal."""
    approved_by: str = ""
    approved_ns: int = 0
    reason: str = ""

    @property
    def sha256(self) -> str:
        """Of its content, hex."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def nominal(engine: EngineType, esn: str = "", part_number: str = "") -> Baseline:
    """The type itself, as if it were an engine: no health, no trims."""
    return Baseline(
        esn=esn, part_number=part_number, engine_type=engine.name,
        engine_type_sha256=engine.sha256, health={}, rows=0, source="nominal",
    )  # fmt: skip


def predict(engine: EngineType, baseline: Baseline, points: Points) -> dict[str, Float64]:
    """`n2` in %, `egt` in Cel and `ff` in kg/h, each [n]; NaN where the model does not speak."""
    from ground.models.turbofan.solve import solve

    check_type(engine, baseline)
    found = solve(engine, points, baseline.health)
    n1c = corrected_speed(points.n1, theta(points.tat))
    return trimmed(baseline, n1c, {"n2": found.n2, "egt": found.egt, "ff": found.ff})


def trimmed(baseline: Baseline, n1c: Float64, outputs: dict[str, Float64]) -> dict[str, Float64]:
    """Outputs of the full-fidelity model with the baseline's trims on them."""
    x = (np.clip(n1c, *baseline.n1c) - N1C_CENTRE) / N1C_SPAN
    shift = {"egt": CELSIUS_K}
    result = {}
    for name, value in outputs.items():
        factor = 1.0 + np.polynomial.polynomial.polyval(x, (*baseline.trims.get(name, ()), 0.0))
        absolute = value + shift.get(name, 0.0)
        result[name] = absolute * factor - shift.get(name, 0.0)
    return result


def check_type(engine: EngineType, baseline: Baseline) -> None:
    """Rejected unless the baseline was fitted with this very engine type."""
    if (baseline.engine_type, baseline.engine_type_sha256) != (engine.name, engine.sha256):
        raise Rejected(
            f"fitted with {baseline.engine_type} {baseline.engine_type_sha256[:12]}, this is "
            f"{engine.name} {engine.sha256[:12]}",
            f"baseline of ESN {baseline.esn}", "fit it again with this engine type",
        )  # fmt: skip


def parse_baseline(data: bytes, where: str) -> Baseline:
    """A baseline from the bytes of its file; Rejected names what is wrong."""
    try:
        if len(data) > BYTES_MAX:
            raise Rejected(f"over {BYTES_MAX} bytes", where, "is it the file?")
        found = msgspec.json.decode(data, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not a baseline: {error}", where, "make it with `baseline fit`") from None
    if found.v != VERSION:
        raise Rejected(f"version {found.v}", where, f"this ground reads version {VERSION}")
    unknown = {*found.trims, *found.sigma} - set(OUTPUTS)
    if unknown or any(len(x) > TRIM_TERMS_MAX for x in found.trims.values()):
        raise Rejected(f"trims of {sorted(unknown) or 'too many terms'}", where, "fit it again")
    if not found.n1c[0] < found.n1c[1]:
        raise Rejected("its range of corrected N1 is empty", where, "fit it again")
    return found
