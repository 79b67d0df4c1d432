"""Makes engine_anomaly_rows.npz: `python -m tests.golden.make_engine_anomaly_rows [CACHE]`.

One-second means of steady cruise, [row, engine, input], the first 150 where both engines may be
scored: `healthy` of full:205, `worn` of full:204 with 3 percent of compressor efficiency lost on
engine 2, from when all of it is lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hil.fit.anomaly import SWITCH_MARGIN
from hil.fit.anomaly_recipe import load_anomaly_recipe
from hil.fit.samples import resample
from hil.plant.flight import Flight
from hil.plant.fly import fly
from hil.plant.mission import Degradation
from shared.signals import load_signal_set

RECIPE = Path("firmware_profiles/models/engine_anomaly_v1.toml")
ROWS = 150
WORN = Degradation(engine=2, percent=3.0, ramp_s=60.0, phase="cruise", after_s=20.0)


def rows(flight: Flight, since_ns: int) -> np.ndarray:
    recipe = load_anomaly_recipe(RECIPE)
    signals = load_signal_set(RECIPE.parent / recipe.signal_set)
    names = {n for x in recipe.instances for n in x.inputs.values()}
    samples = resample(flight, signals, names, recipe.rate_hz)
    used = (samples.phase == "cruise") & (samples.t_ns > since_ns)
    engines = []
    for instance in recipe.instances:
        whole = np.column_stack([samples.columns[instance.inputs[x]] for x in recipe.columns])
        lead = instance.inputs[recipe.steady.input]
        used &= samples.is_steady(lead, recipe.steady, recipe.rate_hz)
        used &= np.isfinite(whole).all(axis=1)
        for i, switch in enumerate(recipe.switched.values(), start=len(recipe.inputs)):
            used &= np.abs(whole[:, i] - switch.only) <= SWITCH_MARGIN
        engines.append(whole)
    return np.stack(engines, axis=1)[used][:ROWS].astype(np.float32)


def main() -> None:
    cache = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    recipe = load_anomaly_recipe(RECIPE)
    signals = load_signal_set(RECIPE.parent / recipe.signal_set)
    healthy = fly("full", 205, signals, cache_dir=cache, say=print)
    worn = fly("full", 204, signals, degradation=WORN, cache_dir=cache, say=print)
    full_ns = worn.meta["onset_ns"] + round((WORN.ramp_s + 30) * 1e9)
    np.savez_compressed(
        Path(__file__).with_name("engine_anomaly_rows.npz"),
        healthy=rows(healthy, 0), worn=rows(worn, full_ns),
    )  # fmt: skip


if __name__ == "__main__":
    main()
