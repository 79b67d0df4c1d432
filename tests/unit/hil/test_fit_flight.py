"""The committed baselines against the plant, on a hop whose seed they have not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hil.fit.baseline import predict
from hil.fit.samples import resample
from hil.plant.fly import fly
from hil.plant.mission import Degradation
from shared.bundle import Bundle, parse_bundle
from shared.signals import load_signal_set

MODELS = Path("firmware_profiles/models")
SIGNALS = load_signal_set(Path("firmware_profiles/signals/b737_bench.toml"))
LOSS = Degradation(engine=2, points=3.0, ramp_s=5.0, phase="takeoff", after_s=0.0)


def deviations(bundle: Bundle, loss: Degradation | None) -> list[npt.NDArray[np.float64]]:
    """EGT deviation of each engine over steady rows in flight."""
    flight = fly("hop", 5, SIGNALS, degradation=loss)
    names = {n for x in bundle.instances for n in (*x.inputs.values(), *x.measured.values())}
    samples = resample(flight, SIGNALS, names, bundle.rate_hz)
    steady_rule = bundle.monitors[0].steady
    assert steady_rule is not None
    found = []
    for row, instance in enumerate(bundle.instances):
        inputs = {name: samples.columns[signal] for name, signal in instance.inputs.items()}
        deviation = samples.columns[instance.measured["egt"]] - predict(bundle, row, inputs)["egt"]
        steady = samples.is_steady(instance.inputs["n1"], steady_rule, bundle.rate_hz)
        flying = np.isin(samples.phase, ["climb", "approach"])
        found.append(deviation[steady & flying & np.isfinite(deviation)])
    return found


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_lost_efficiency_stands_out_and_a_healthy_engine_does_not(version: str) -> None:
    path = MODELS / f"egt_rom_{version}.json"
    bundle = parse_bundle(path.read_bytes(), str(path))
    monitor = bundle.monitors[0]
    for deviation in deviations(bundle, None):
        assert len(deviation) > 20
        assert abs(np.median(deviation)) < monitor.clear
    healthy, worn = deviations(bundle, LOSS)
    assert abs(np.median(healthy)) < monitor.clear
    assert np.median(worn) > 2 * monitor.onset
