"""The RUL model as the two files that rest in the repository: a declaration and its graph.

In: what was fitted and the fleet it was fitted to. Out: a `Bundle` of kind `trained`, and ONNX.
Always holds: the valid range of a sensor is what was trained on and a margin, so that an engine
of another kind gets no answer; the card says the cap.
"""

from __future__ import annotations

import numpy as np

from ground.prognostics.cmapss import SENSORS, Fleet
from ground.prognostics.rul import CAP, INPUTS, OUTPUTS, Rul
from ground.prognostics.rul_fit import Fitted, Settings
from shared.behaviour.compile import compile_dynamics
from shared.bundle import (
    Applicability,
    Bundle,
    Calibration,
    Input,
    Instance,
    ModelCard,
    Output,
    Requirements,
    State,
    Trained,
)

EXPORTER = "ground.prognostics.train_rul"
MARGIN = 0.25  # of the span trained on, on either side: an assumption
NODES_SPARE = 8


def declare(fitted: Fitted, fleet: Fleet, settings: Settings) -> tuple[Bundle, bytes]:
    """(declaration, graph)."""
    model = fitted.model
    compiled = compile_dynamics(model, INPUTS, OUTPUTS)
    signals = {name: f"CMAPSS_{name.upper()}" for name in INPUTS}
    return Bundle(
        name="rul_fd001", version="1.0.0", release=1, rate_hz=1.0,
        instances=(Instance(position=1, esn="FD001", inputs=signals, measured={}),),
        inputs=_inputs(fleet),
        outputs=tuple(Output(name=name, unit="1", lsb=0.1) for name in OUTPUTS),
        states=tuple(
            State(name=name, initial=tuple(map(tuple, first.astype(np.float32).tolist())))
            for name, first in model.initial.items()
        ),
        applicability=Applicability(types=("CMAPSS",)), ata="720000",
        requirements=Requirements(
            nodes=compiled.nodes + NODES_SPARE, tensor_elements=2 * compiled.tensor_elements
        ),
        model_card=_card(fitted, settings),
        calibration=Calibration(
            source=f"NASA C-MAPSS {fleet.source}, sha-256 {fleet.sha256}",
            seeds=(settings.split_seed, *_seeds(settings)), fitted_by=EXPORTER,
            signal_set_sha256="none", data={fleet.source: fleet.sha256},
        ),
        full_fidelity="C-MAPSS, the simulator of the data", behaviour=Trained(exporter=EXPORTER),
    ), compiled.onnx  # fmt: skip


def _seeds(settings: Settings) -> range:
    first = settings.training.seed
    return range(first, first + settings.training.members)


def _inputs(fleet: Fleet) -> tuple[Input, ...]:
    rows = np.concatenate([x.rows for x in fleet.engines])
    low, high = rows.min(axis=0), rows.max(axis=0)
    edge = MARGIN * (high - low)
    ports = [
        Input(name=name, unit=unit, valid=(float(f"{a:.6g}"), float(f"{b:.6g}")))
        for (name, (_, unit)), a, b in zip(SENSORS.items(), low - edge, high + edge, strict=True)
    ]
    longest = float(max(map(len, fleet.engines)))
    return (*ports, Input(name="cycle", unit="1", valid=(1.0, longest)))


def _card(fitted: Fitted, settings: Settings) -> ModelCard:
    model: Rul = fitted.model
    shape = "-".join(map(str, (len(model.scale[0]), *settings.training.hidden, 1)))
    return ModelCard(
        purpose="Cycles an engine has left before its high-pressure compressor fails, as in FD001",
        method=f"Mean of {model.networks.members} networks ({shape}, tanh) over recursive means of two "
               f"principal axes of {len(SENSORS)} sensors; labels capped at {CAP:g} cycles; validated on "
               f"{settings.folds} folds of whole engines",
        limits=f"One operating condition and one fault, simulated; {CAP:g} means that or more; a step is "
               "a cycle, from the engine's first: states that start in mid-life read it as younger",
        figures={k: round(v, 3) for k, v in fitted.figures.items()}
        | {"label_cap_cycles": CAP, "band_coverage_wanted": settings.coverage},
    )  # fmt: skip
