"""The hydrogen tank over hours of steady inputs, before and after a change.

In: a checked request of model `tank`. Out: a `Scenario`. Always holds: from where the tank runs dry,
full or out of its properties there are no numbers, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ground.models.model import Float64
from ground.models.tank.parent import INPUTS, TankModel
from ground.models.tank.simulate import Inputs, simulate
from ground.models.tank.tank import Tank, load_tank
from ground.whatif.answer import Curve, Scenario
from ground.whatif.request import Request
from shared.errors import Rejected

TANK = "regional_lh2"
STEP_S = 60.0
SHOWN = {"pressure": ("Pressure", "kPa"), "liquid": ("Liquid", "kg"),
         "surface": ("Temperature of the surface", "K"), "vented": ("Vented so far", "kg")}  # fmt: skip
"""Vented as a sum: the vent blows for seconds, which a flow once a minute does not see."""
VENTED_KG = 1e-6
POINTS_MAX = 600


def scenario(request: Request) -> Scenario:
    """Both cases, in steps of a minute."""
    tank = load_tank(TANK)
    cases = {"baseline": request.point, "changed": _changed(request.point, request.set)}
    models = {name: _run(tank, inputs, request.hours) for name, inputs in cases.items()}
    rows = len(next(iter(models.values()))[1]["pressure"])
    every = -(-rows // POINTS_MAX)
    hours = np.arange(rows)[::every] * STEP_S / 3600
    curves = [
        Curve(name=text, unit=unit, baseline=_nullable(models["baseline"][1][name][::every]),
              changed=_nullable(models["changed"][1][name][::every]))
        for name, (text, unit) in SHOWN.items()
    ]  # fmt: skip
    return Scenario(
        model=f"tank {tank.name}", model_sha256=tank.sha256, hours=tuple(hours.round(4).tolist()),
        inputs=cases, curves=tuple(curves),
        events=tuple(text for name, (why, out) in models.items()
                     for text in _events(name, why, out)),
    )  # fmt: skip


def _changed(point: Mapping[str, float], changes: Mapping[str, float]) -> dict[str, float]:
    share = 1.0 + changes.get("heat_leak", 0.0) / 100.0
    rest = {name: value for name, value in changes.items() if name != "heat_leak"}
    heat_w = point["heat_leak"] * share
    most_w = next(port.valid[1] for port in INPUTS if port.name == "heat_leak")
    if heat_w > most_w:
        raise Rejected(f"makes {heat_w:g} W", "set.heat_leak", f"{most_w:g} W at most")
    return {**point, **rest, "heat_leak": heat_w}


def _run(tank: Tank, inputs: Mapping[str, float], hours: float) -> tuple[str, dict[str, Float64]]:
    """(why it stopped, columns)."""
    start = TankModel(tank, inputs["start_pressure"], inputs["fill"] / 100.0, STEP_S).start
    ones = np.ones(round(hours * 3600 / STEP_S) + 1)
    draw_kg_s = inputs["draw"] / 1000.0
    run = simulate(tank, start, Inputs(
        heat_w=inputs["heat_leak"] * ones, draw_kg_s=draw_kg_s * ones, pressurant_kg_s=0.0 * ones,
        ambient_pa=inputs["ambient_pressure"] * 1000.0 * ones,
    ), STEP_S)  # fmt: skip
    drawn_kg = draw_kg_s * STEP_S * np.arange(len(ones))
    vented_kg = -run.crossed_kg - drawn_kg
    vented_kg[np.abs(vented_kg) < VENTED_KG] = 0.0  # what rounding leaves
    return run.why, {"pressure": run.pressure_pa / 1000.0, "liquid": run.liquid_kg,
                     "surface": run.surface_k, "vented": vented_kg}  # fmt: skip


def _events(name: str, why: str, out: Mapping[str, Float64]) -> list[str]:
    said = []
    venting = np.flatnonzero(out["vented"] > 0)
    if len(venting):
        said.append(f"{name}: the vent opens after {venting[0] * STEP_S / 3600:.1f} h; "
                    f"{np.nanmax(out['vented']):.2f} kg are vented")  # fmt: skip
    else:
        said.append(f"{name}: the vent stays shut")
    if why:
        said.append(f"{name}: no answer from {_row(why)}")
    return said


def _row(why: str) -> str:
    """`row 90: …` as a time."""
    row, _, rest = why.removeprefix("row ").partition(": ")
    return f"{int(row) * STEP_S / 3600:.1f} h on: {rest}" if row.isdigit() else why


def _nullable(values: Float64) -> tuple[float | None, ...]:
    return tuple(round(v, 4) if np.isfinite(v) else None for v in values.tolist())
