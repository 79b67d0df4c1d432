"""From flights to a declaration to a bundle, on a gas path written down here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from hil.fit.__main__ import main
from hil.fit.baseline import fit_baseline, predict, smoothed
from hil.fit.recipe import Recipe, load_recipe
from hil.fit.samples import Samples, resample
from hil.plant.flight import Flight, Readings
from shared.bundle import Bundle, Steady, parse_bundle, unpack
from shared.bundlefile import build_bundle, pack_declared, pretty
from shared.errors import ConfigError, Rejected
from shared.profile import ModelBounds
from shared.signals import SignalSet, load_signal_set

MODELS = Path("firmware_profiles/models")
RECIPE = load_recipe(MODELS / "egt_rom_v1.toml")
SIGNALS = load_signal_set(MODELS / RECIPE.signal_set)
SMALL = msgspec.structs.replace(
    RECIPE, flights=("toy:1", "toy:2"), held_out=("toy:3",), smoothness=1e-6
)
SECONDS = 1500


def toy_flight(name: str, loss_k: float = 0.0) -> Flight:
    """A climb and a cruise; EGT is linear in corrected N1, 1.2 % more with bleed."""
    rng = np.random.default_rng(int(name.partition(":")[2]))
    t = np.arange(SECONDS, dtype=float)
    high = np.minimum(t / 1000, 1.0)
    truth = {
        "AIR_ALT": 24000 * high, "AIR_MACH": 0.3 + 0.4 * high,
        "AIR_TAT": 20 - 30 * high + rng.uniform(-5, 5),
    }  # fmt: skip
    theta = (truth["AIR_TAT"] + 273.15) / 288.15
    for position in ("1", "2"):
        n1 = 92 - 12 * np.floor(4 * t / SECONDS) / 4 + rng.uniform(-1, 1)
        bleed = (t // 200 % 2 == int(position) - 1).astype(float)
        egt = (500 + 5 * n1 / np.sqrt(theta)) * theta * (1 + 0.012 * bleed) - 273.15
        egt += loss_k * (position == "2") * (t > 1200)
        truth |= {
            f"ENG{position}_N1": n1, f"ENG{position}_BLEED": bleed, f"ENG{position}_EGT": egt,
            f"ENG{position}_FF": 20 * n1, f"ENG{position}_AI": np.zeros(SECONDS),
        }  # fmt: skip
    phases = [[0, "climb"], [1000 * 10**9, "cruise"]]
    groups = {g.name: _readings(SIGNALS, g.name, truth, rng) for g in SIGNALS.groups}
    return Flight(SIGNALS.sha256.hex(), groups, {"start_ns": 0, "phases": phases})


def _readings(
    signals: SignalSet, name: str, truth: dict[str, npt.NDArray[np.float64]],
    rng: np.random.Generator,
) -> Readings:  # fmt: skip
    group = signals.group(name)
    count = round(SECONDS * group.rate_hz)
    t_ns = np.arange(count, dtype=np.int64) * group.period_ns
    integers, status = [], np.zeros((count, len(group.signal)), np.uint8)
    for i, signal in enumerate(group.signal):
        if signal.encoding == "f64":
            continue
        value = np.zeros(count)
        if signal.name in truth:
            value = truth[signal.name][t_ns // 10**9]
            value = value + rng.normal(0, 0.3, count) * signal.scale * (signal.encoding == "int")
        integers.append(np.round((value - signal.offset) / signal.scale).astype(np.int64))
        if signal.name == "AIR_MACH":
            status[t_ns < 30 * 10**9, i] = 1
    floats = np.zeros((count, int(group.is_f64.sum())))
    raw = np.column_stack(integers) if integers else np.zeros((count, 0), np.int64)
    return Readings(t_ns, raw, floats, status)


@pytest.fixture(scope="module")
def fitted() -> Bundle:
    return fit_baseline(SMALL, SIGNALS, toy_flight)


def test_residuals_of_a_held_out_flight_are_sensor_noise(fitted: Bundle) -> None:
    figures = fitted.model_card.figures
    assert figures["egt_cruise_rms"] < 0.6  # a step of EGT is 0.5 Cel
    assert figures["ff_cruise_rms"] < 6


def test_effect_of_bleed_is_found_for_each_engine(fitted: Bundle) -> None:
    bleed, anti_ice = fitted.behaviour.effects
    assert bleed.quantity == "bleed"
    for engine in bleed.coefficients:
        assert engine[0] == pytest.approx(0.012, abs=0.0005)
    assert anti_ice.coefficients[0][0] == pytest.approx(0, abs=1e-6)  # never on


def test_limits_follow_from_the_residuals(fitted: Bundle) -> None:
    (monitor,) = fitted.monitors
    figures = fitted.model_card.figures
    assert monitor.onset >= 6 * figures["egt_deviation_high_smoothed_rms"]
    assert monitor.onset >= 1.5 * figures["egt_deviation_high_smoothed_worst"]
    assert monitor.clear == monitor.onset / 2


def test_lost_efficiency_shows_as_deviation(fitted: Bundle) -> None:
    names = {n for x in fitted.instances for n in (*x.inputs.values(), *x.measured.values())}
    samples = resample(toy_flight("toy:9", loss_k=25.0), SIGNALS, names, 1.0)
    for row, wanted in ((0, 0.0), (1, 25.0)):
        instance = fitted.instances[row]
        inputs = {name: samples.columns[signal] for name, signal in instance.inputs.items()}
        found = predict(fitted, row, inputs)["egt"]
        deviation = samples.columns[instance.measured["egt"]] - found
        assert np.nanmean(deviation[-200:]) == pytest.approx(wanted, abs=1.0)


def test_declaration_round_trips_and_builds_the_same_bytes(fitted: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(pretty(fitted))
    assert parse_bundle(path.read_bytes(), "x") == fitted
    name, data = build_bundle(path)
    assert (name, data) == pack_declared(fitted)
    assert unpack(data, ModelBounds()).bundle == fitted
    assert max(len(line) for line in path.read_text().splitlines()) < 250


def test_row_without_a_good_sample_is_none() -> None:
    samples = resample(toy_flight("toy:1"), SIGNALS, ["AIR_MACH", "AIR_ALT"], 1.0)
    assert np.isnan(samples.columns["AIR_MACH"][:30]).all()
    assert np.isfinite(samples.columns["AIR_MACH"][30:]).all()
    assert samples.phase[0] == "climb" and samples.phase[-1] == "cruise"


def test_steady_is_what_the_monitors_call_steady() -> None:
    n1 = np.array([80.0] * 5 + [82.0] + [80.0] * 5 + [np.nan] + [80.0] * 5)
    samples = Samples(np.arange(17), np.array(["x"] * 17), {"N1": n1})
    steady = samples.is_steady("N1", Steady(input="n1", rate_max_per_s=0.5, hold_s=3.0), 1.0)
    assert np.flatnonzero(steady).tolist() == [3, 4, 9, 10, 15, 16]


def test_smoothing_is_that_of_the_monitors() -> None:
    """Both are written out, since bench and aircraft share no code; here they are compared."""
    from edge.models.deviations import _Filter

    values = np.random.default_rng(1).normal(0, 3, 200)
    memory = _Filter()
    theirs = [memory.smooth(i * 10**9, float(v), 15.0) for i, v in enumerate(values)]
    np.testing.assert_allclose(
        smoothed(values, 15.0, 1.0), np.array([np.nan if x is None else x for x in theirs])
    )


def test_flight_may_not_fit_and_judge() -> None:
    both = msgspec.structs.replace(SMALL, held_out=("toy:2",))
    with pytest.raises(Rejected, match="to fit and to judge"):
        fit_baseline(both, SIGNALS, toy_flight)


def test_too_few_steady_samples_are_refused() -> None:
    calm: Recipe = msgspec.structs.replace(SMALL, running_min=200.0)
    with pytest.raises(Rejected, match="steady samples"):
        fit_baseline(calm, SIGNALS, toy_flight)


def test_recipe_with_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('colour = "red"\n' + (MODELS / "egt_rom_v1.toml").read_text())
    with pytest.raises(ConfigError, match="colour"):
        load_recipe(path)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_committed_declarations_are_of_their_recipes_and_build(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(MODELS / f"egt_rom_{version}.toml")
    path = MODELS / f"egt_rom_{version}.json"
    bundle = parse_bundle(path.read_bytes(), str(path))
    assert (bundle.name, bundle.version, bundle.release) == (
        recipe.name, recipe.version, recipe.release,
    )  # fmt: skip
    assert bundle.instances == recipe.instances
    assert bundle.behaviour.axes == recipe.axes
    assert bundle.calibration.signal_set_sha256 == SIGNALS.sha256.hex()
    seeds = {int(x.partition(":")[2]) for x in recipe.flights}
    assert set(bundle.calibration.seeds) == seeds
    assert main(["bundle", str(path), "--out", str(tmp_path)]) == 0
    (made,) = tmp_path.iterdir()
    assert made.name.endswith(f"{hashlib.sha256(made.read_bytes()).hexdigest()[:12]}.tar.zst")
    assert str(made) in capsys.readouterr().out


def test_missing_declaration_is_told_without_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 65
    assert "none.json" in capsys.readouterr().err
