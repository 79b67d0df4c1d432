"""The anomaly model that ships: low on a healthy flight, high on a worn engine, and an alert.

tests/golden/engine_anomaly_rows.npz holds one-second means of steady cruise, [row, engine, input], of
two flights of the plant that the model was not trained on: `healthy` is full:205, `worn` is
full:204 with 3 percent of compressor efficiency lost on engine 2 (make_engine_anomaly_rows.py).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edge.models.admission import decide
from edge.models.alerts import AlertBook
from edge.models.deviations import Deviations
from edge.models.session import FusedSession
from edge.models.step import Binding
from hil.fit.anomaly import Anomaly, features, fit_samples, scores
from hil.fit.anomaly_recipe import load_anomaly_recipe
from hil.fit.network import train
from hil.fit.samples import Samples
from shared.bundle import BundleFiles, unpack
from shared.bundlefile import build_bundle
from shared.errors import ConfigError, Rejected
from shared.messages import Alert
from shared.phases import Phase
from shared.profile import ModelBounds
from shared.signals import load_signal_set
from shared.trained import run_reference

MODELS = Path("firmware_profiles/models")
RECIPE = load_anomaly_recipe(MODELS / "engine_anomaly_v1.toml")
ROWS = np.load("tests/golden/engine_anomaly_rows.npz")
Float64 = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def files() -> BundleFiles:
    return unpack(build_bundle(MODELS / "engine_anomaly_v1.json")[1], ModelBounds())


@pytest.fixture(scope="module")
def session(files: BundleFiles) -> FusedSession:
    """Beside the ROM, in one graph, as it flies."""
    rom = unpack(build_bundle(MODELS / "egt_rom_v1.json")[1], ModelBounds())
    return FusedSession([rom, files])


def score(session: FusedSession, rows: npt.NDArray[np.float32]) -> Float64:
    """[row, engine]."""
    out = []
    session.inputs[0][:] = [sum(x.valid) / 2 for x in session.bundles[0].inputs]
    for row in rows:
        session.inputs[1][:] = row
        session.step()
        out.append(session.outputs[1][:, 0].astype(float))
    return np.array(out)


def test_it_is_admitted() -> None:
    _, data = build_bundle(MODELS / "engine_anomaly_v1.json")
    for stage in ("graph", "session"):
        result = decide(stage, data, ModelBounds())
        assert result.ok, result.reasons


def test_score_is_low_on_a_healthy_flight_and_high_on_the_worn_engine_only(
    session: FusedSession, files: BundleFiles
) -> None:
    (monitor,) = files.bundle.monitors
    healthy, worn = score(session, ROWS["healthy"]), score(session, ROWS["worn"])
    assert np.median(healthy) < 1.5 and np.quantile(healthy, 0.99) < monitor.onset
    assert np.quantile(worn[:, 0], 0.99) < monitor.onset
    assert np.quantile(worn[:, 1], 0.01) > 2 * monitor.onset


def alerts(files: BundleFiles, session: FusedSession, rows: npt.NDArray[np.float32]) -> list[Alert]:
    """What the monitors say of the rows, a second apart, as the recorder asks them."""
    bundle, judge = files.bundle, Deviations(AlertBook())
    binding = Binding(bundle, "engine_anomaly-1.0.0-x", {1: "894101", 2: "894102"})
    out = []
    for i, (row, value) in enumerate(zip(rows, score(session, rows), strict=True)):
        values = {
            instance.inputs[port.name]: float(x)
            for instance, columns in zip(bundle.instances, row, strict=True)
            for port, x in zip(bundle.inputs, columns, strict=True)
        }
        inputs, reasons = binding.gather(values)
        answer = value.astype("<f4").tobytes()
        step = binding.finish((i + 1) * 10**9, inputs, reasons, values, answer)
        out += judge.judge(step, Phase.CRUISE)
    return out


def test_worn_engine_is_an_alert_and_a_healthy_one_is_not(
    session: FusedSession, files: BundleFiles
) -> None:
    assert alerts(files, session, ROWS["healthy"]) == []
    (alert,) = alerts(files, session, ROWS["worn"])
    assert (alert.name, alert.esn, alert.change) == ("engine_anomaly_high", "894102", "onset")
    assert alert.value > 2 * alert.threshold and alert.unit == "1"


def test_graph_gives_what_the_reference_gives(files: BundleFiles, session: FusedSession) -> None:
    rows = ROWS["worn"][:20]
    wanted = run_reference(files.bundle, files.model, rows)[:, :, 0]
    np.testing.assert_allclose(score(session, rows), wanted, atol=0.01)


# -- training, on an engine written down here


def toy(seed: int, loss_k: float = 0.0) -> Samples:
    """Cruise in steps of N1; EGT, N2 and fuel flow follow N1."""
    rng, count = np.random.default_rng(seed), 1200
    n1 = 80 + 2.0 * (np.arange(count) // 60 % 6) + rng.normal(0, 0.01, count)
    columns = {
        "AIR_MACH": 0.7 + 0.02 * rng.uniform(-1, 1) + rng.normal(0, 1e-3, count),
        "AIR_ALT": np.full(count, 24000.0), "AIR_TAT": rng.normal(-10, 0.05, count),
    }  # fmt: skip
    for i in "12":
        columns |= {
            f"ENG{i}_N1": n1, f"ENG{i}_N2": 60 + 0.4 * n1 + rng.normal(0, 0.05, count),
            f"ENG{i}_EGT": 5 * n1 + 200 + rng.normal(0, 1, count) + loss_k * (i == "2"),
            f"ENG{i}_FF": 40 * n1 - 1000 + rng.normal(0, 5, count),
            f"ENG{i}_BLEED": np.ones(count), f"ENG{i}_AI": np.zeros(count),
        }  # fmt: skip
    t_ns = (np.arange(count) + 1) * 10**9
    return Samples(t_ns, np.full(count, "cruise"), columns)


def test_same_flights_give_the_same_bytes_and_a_fault_scores_high() -> None:
    signals = load_signal_set(MODELS / RECIPE.signal_set)
    names = ("toy:1", "toy:2", "toy:3", "toy:4")
    small = msgspec.structs.replace(
        RECIPE, train=names[:2], threshold=names[2:3], held_out=names[3:],
        training=msgspec.structs.replace(RECIPE.training, steps=300),
    )  # fmt: skip
    flown = {name: toy(i) for i, name in enumerate(names)}
    bundle, model = fit_samples(small, signals, flown)
    assert fit_samples(small, signals, flown) == (bundle, model)
    assert bundle.model_card.figures["score_held_out_median"] < 2
    assert bundle.monitors[0].onset >= 2 and bundle.monitors[0].on == "output"


def test_too_few_rows_and_a_flight_used_twice_are_refused() -> None:
    signals = load_signal_set(MODELS / RECIPE.signal_set)
    short = Samples(*(x[:50] for x in (toy(1).t_ns, toy(1).phase)),
                    {k: v[:50] for k, v in toy(1).columns.items()})  # fmt: skip
    flown = dict.fromkeys([*RECIPE.train, *RECIPE.threshold, *RECIPE.held_out], short)
    with pytest.raises(Rejected, match="steady rows"):
        fit_samples(RECIPE, signals, flown)
    with pytest.raises(ConfigError, match="cannot read"):
        load_anomaly_recipe(MODELS / "none.toml")


def test_network_restores_what_it_was_trained_on_and_not_what_it_never_saw() -> None:
    """Two degrees of freedom in five features."""
    rng = np.random.default_rng(4)
    free = rng.normal(size=(800, 2))
    rows = np.column_stack([free, free.sum(axis=1), free[:, 0] * 2, free[:, 1] - free[:, 0]])
    settings = {"hidden": 8, "bottleneck": 2, "steps": 1500, "batch": 64, "rate": 0.01, "seed": 1}
    network = train(rows, range(5), **settings)  # type: ignore[arg-type]
    scaled = (rows - network.centre) * network.scale
    missed = network.restore(scaled) - scaled
    assert np.sqrt(np.mean(missed**2)) < 0.1
    off = scaled + np.array([0, 0, 0, 1.0, 0])
    assert np.sqrt(np.mean((network.restore(off) - off) ** 2)) > 0.3


def test_score_of_the_dynamics_is_that_of_its_rows_one_by_one() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.5, 1, (40, 9)) * [90, 95, 700, 2000, 0.7, 20000, 10, 1, 0]
    whole = {name: rows[:, i : i + 1] for i, name in enumerate(RECIPE.columns)}
    trained = train(np.column_stack(features({k: v[:, 0] for k, v in whole.items()})), (0, 2, 3, 4),
                    hidden=4, bottleneck=2, steps=50, batch=16, rate=0.01, seed=2)  # fmt: skip
    moving = Anomaly([trained])
    found = scores(RECIPE, moving, 0, rows)
    assert found.shape == (40,) and (found > 0).all()
