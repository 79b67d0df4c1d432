"""A small two-engine bundle for tests: four-axis table, EGT and fuel flow."""

from __future__ import annotations

import numpy as np

from shared.behaviour.compile import compile_model
from shared.behaviour.kinds import Axis, Column, Correction, Effect, LookupTable
from shared.bundle import (
    Applicability,
    Bundle,
    Calibration,
    Input,
    Instance,
    ModelCard,
    Monitor,
    Output,
    Requirements,
    SelfTest,
    Steady,
)  # fmt: skip
from shared.bundlefile import make_selftest, pack_declared

INPUTS = (
    Input(name="n1", unit="%", valid=(20.0, 105.0)),
    Input(name="mach", unit="1", valid=(0.0, 0.85)),
    Input(name="altitude", unit="[ft_i]", valid=(-1000.0, 41000.0)),
    Input(name="tat", unit="Cel", valid=(-70.0, 55.0)),
    Input(name="bleed", unit="1", valid=(0.0, 1.0)),
)
SIGNALS = {"n1": "N1", "bleed": "BLEED"}
AXES = (
    Axis("n1c", (20.0, 50.0, 70.0, 85.0, 100.0)),
    Axis("mach", (0.0, 0.4, 0.8)),
    Axis("altitude", (0.0, 20000.0, 40000.0)),
    Axis("isa", (-20.0, 20.0)),
)


def table(seed: int = 1, engines: int = 2) -> LookupTable:
    rng = np.random.default_rng(seed)
    size = int(np.prod([len(a.points) for a in AXES]))
    values = tuple(
        (tuple(rng.uniform(700, 1100, size).tolist()), tuple(rng.uniform(400, 3000, size).tolist()))
        for _ in range(engines)
    )
    return LookupTable(
        corrections=(
            Correction("theta", "theta", ("tat",)),
            Correction("delta", "delta", ("altitude", "mach")),
            Correction("n1c", "corrected_speed", ("n1", "theta")),
            Correction("isa", "isa_deviation", ("tat", "mach", "altitude")),
        ),
        axes=AXES,
        columns=(
            Column("egt", "K", "temperature_from_corrected", ("theta",)),
            Column("ff", "kg/h", "flow_from_corrected", ("delta", "theta")),
        ),
        values=values,
        effects=(Effect("bleed", tuple((0.012, 0.01 + 0.001 * i) for i in range(engines))),),
    )


def bundle(release: int = 1) -> Bundle:
    def instance(position: int) -> Instance:
        own = {k: f"ENG{position}_{v}" for k, v in SIGNALS.items()}
        air = {"mach": "AIR_MACH", "altitude": "AIR_ALT", "tat": "AIR_TAT"}
        return Instance(
            position=position,
            esn=f"ESN{position}",
            inputs={**own, **air},
            measured={"egt": f"ENG{position}_EGT", "ff": f"ENG{position}_FF"},
        )

    return Bundle(
        name="egt_rom",
        version=f"{release}.0.0",
        release=release,
        rate_hz=1.0,
        instances=(instance(1), instance(2)),
        inputs=INPUTS,
        outputs=(Output(name="egt", unit="Cel", lsb=0.5), Output(name="ff", unit="kg/h", lsb=4.0)),
        monitors=(
            Monitor(
                name="egt_deviation", fault_code="72-00-001", output="egt", onset=15.0, clear=8.0,
                persistence_s=20.0, clear_persistence_s=60.0, smoothing_s=10.0, severity="caution",
                phases=("cruise",), steady=Steady(input="n1", rate_max_per_s=0.1, hold_s=10.0),
            ),
        ),
        applicability=Applicability(types=("B737",), esns=("ESN1", "ESN2")),
        ata="720000",
        requirements=Requirements(nodes=128, tensor_elements=4096),
        model_card=ModelCard(purpose="test", method="drawn at random", limits="none"),
        calibration=Calibration(
            source="drawn", seeds=(1,), fitted_by="tests.fakes.bundles", signal_set_sha256=""
        ),
        full_fidelity="none yet",
        behaviour=table(),
    )  # fmt: skip


def model_of(declared: Bundle) -> bytes:
    names = [x.name for x in declared.inputs]
    assert isinstance(declared.behaviour, LookupTable)
    return compile_model(declared.behaviour, names, [x.name for x in declared.outputs])


def selftest_of(declared: Bundle) -> SelfTest:
    return make_selftest(declared)


def packed(release: int = 1) -> tuple[str, bytes]:
    return pack_declared(bundle(release))
