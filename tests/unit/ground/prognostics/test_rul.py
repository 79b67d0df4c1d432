"""Remaining useful life: the shipped graph aboard, and training on a fleet written down here."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.config import load_profile
from edge.models.admission import AdmissionResult, decide
from edge.models.session import FusedSession
from edge.models.step import Binding
from ground.prognostics import rul, rul_fit, train_rul
from ground.prognostics.cmapss import SENSORS, Engine, Fleet, read_test, read_training
from ground.prognostics.evaluate_rul import main as evaluate_main
from ground.prognostics.evaluate_rul import step_engines
from ground.prognostics.network import Training, train
from ground.prognostics.rul_bundle import declare
from shared.bundle import Bundle, BundleFiles, Trained, parse_bundle, unpack
from shared.bundlefile import build_bundle
from shared.errors import Rejected
from shared.profile import ModelBounds

SHIPPED = Path("firmware_profiles/models/rul_fd001_v1.json")
SMALL = rul_fit.Settings(training=Training(hidden=(6,), members=2, steps=150, batch=64), folds=2)


@pytest.fixture(scope="module")
def packed() -> bytes:
    return build_bundle(SHIPPED)[1]


@pytest.fixture(scope="module")
def files(packed: bytes) -> BundleFiles:
    return unpack(packed, ModelBounds())


# -- as it ships


def test_it_is_admitted_and_a_step_takes_under_a_millisecond(packed: bytes) -> None:
    result = AdmissionResult(False, [])
    profile, _ = load_profile(Path("firmware_profiles/acms_x86.toml"))
    for stage in ("graph", "session"):
        result = decide(stage, packed, profile.compute.models)
        assert result.ok, result.reasons
    assert result.cost.step_us is not None and result.cost.step_us <= 1000


def test_a_wrong_weight_is_refused_by_its_self_test(files: BundleFiles, packed: bytes) -> None:
    """So that admission above could have failed."""
    import onnx

    from shared.bundle import SelfTest, pack

    model = onnx.load_from_string(files.model)
    weights = next(x for x in model.graph.initializer if list(x.dims) == [8, 32, 16])
    changed = onnx.numpy_helper.to_array(weights) * np.float32(1.2)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    selftest = msgspec.msgpack.decode(files.selftest, type=SelfTest)
    forged = pack(files.bundle, bytes(model.SerializeToString(deterministic=True)), selftest)
    result = decide("session", forged, ModelBounds())
    assert not result.ok and "self-test" in result.reasons[0]


def healthy(cycle: int) -> dict[str, float]:
    """The middle of each sensor's range, as signals."""
    bundle = parse_bundle(SHIPPED.read_bytes(), "test")
    values = {f"CMAPSS_{x.name.upper()}": sum(x.valid) / 2 for x in bundle.inputs}
    return values | {"CMAPSS_CYCLE": float(cycle)}


def test_state_is_carried_from_cycle_to_cycle_and_given_back_by_a_reset(files: BundleFiles) -> None:
    session = FusedSession([files])
    low = np.array([x.valid[0] for x in files.bundle.inputs], np.float32)
    found = []
    for cycle in (1, 2, 3):
        session.inputs[0][:] = low
        session.inputs[0][0, -1] = cycle
        session.step()
        found.append(session.outputs[0][0].copy())
    assert not np.array_equal(found[0], found[1])
    session.reset()
    session.inputs[0][0, -1] = 1
    session.step()
    np.testing.assert_array_equal(session.outputs[0][0], found[0])


def test_a_sensor_outside_what_was_trained_on_gives_no_answer_and_says_which(
    files: BundleFiles,
) -> None:
    binding = Binding(files.bundle, "rul", {1: "FD001"})
    assert binding.gather(healthy(10))[1] == ("",)
    assert "t50" in binding.gather(healthy(10) | {"CMAPSS_T50": 1600.0})[1][0]
    assert "cycle" in binding.gather(healthy(400))[1][0]


def test_card_states_cap_provenance_and_limits(files: BundleFiles) -> None:
    card, calibration = files.bundle.model_card, files.bundle.calibration
    assert card.figures["label_cap_cycles"] == 125 and "125" in card.limits
    assert "train_FD001.txt, sha-256 " in calibration.source and calibration.seeds[0] == 7
    assert isinstance(files.bundle.behaviour, Trained)


# -- training


def toy_fleet(count: int = 20, seed: int = 3) -> Fleet:
    """Sensors that drift as a square of age towards failure, each with its own noise."""
    rng, engines = np.random.default_rng(seed), []
    for unit in range(1, count + 1):
        life = int(rng.integers(60, 110))
        worn = (np.arange(life) / life)[:, None] ** 2
        gain = np.linspace(-2, 2, len(SENSORS)) + 0.1
        rows = 100 + worn * gain + rng.normal(0, 0.1, (life, len(SENSORS)))
        engines.append(Engine(unit, rows))
    return Fleet(tuple(engines), "toy", "00")


def write_fleet(fleet: Fleet, path: Path) -> None:
    lines = []
    for engine in fleet.engines:
        for cycle, row in enumerate(engine.rows, start=1):
            numbers = np.full(26, 1.0)
            numbers[:2] = engine.unit, cycle
            numbers[[4 + number for number, _ in SENSORS.values()]] = row
            lines.append(" ".join(f"{x:.6f}" for x in numbers))
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture(scope="module")
def fitted() -> rul_fit.Fitted:
    return rul_fit.fit(toy_fleet(), SMALL)


def test_same_fleet_and_seeds_give_the_same_bytes(
    fitted: rul_fit.Fitted,
) -> None:
    again = rul_fit.fit(toy_fleet(), SMALL)
    assert declare(again, toy_fleet(), SMALL) == declare(fitted, toy_fleet(), SMALL)


def test_toy_lives_are_told_far_better_than_by_their_mean(fitted: rul_fit.Fitted) -> None:
    fleet = toy_fleet(seed=4)
    spread = np.concatenate([rul.true_rul(x) for x in fleet.engines]).std()
    answers = fitted.model.of_engines(fleet.engines)
    errors = [y[:, 0] - rul.true_rul(x) for x, y in zip(fleet.engines, answers, strict=True)]
    assert rul.rmse(np.concatenate(errors)) < spread / 2


def test_graph_steps_to_what_the_dynamics_say(fitted: rul_fit.Fitted) -> None:
    fleet = toy_fleet()
    bundle, graph = declare(fitted, fleet, SMALL)
    found, _ = step_engines(bundle, graph, fleet.engines[:2])
    wanted = fitted.model.of_engines(fleet.engines[:2])
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


def test_engines_side_by_side_are_each_as_alone(fitted: rul_fit.Fitted) -> None:
    engines = toy_fleet().engines[:3]
    together = fitted.model.of_engines(engines)
    alone = fitted.model.of_engines([engines[1]])
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-12)


def test_means_follow_a_step_as_their_time_constants_say(fitted: rul_fit.Fitted) -> None:
    """A step of the sensors to a constant h: mean = h + (start - h) exp(-k / tau) after k cycles, and the
    mean of all is (10 start + k h) / (10 + k)."""
    axes, k = fitted.model.axes, 12
    rows = np.tile(axes.centre + 1.0, (k, 1))
    (found,) = rul.features_of(axes, [Engine(1, rows, first=31)])
    health = np.ones(len(SENSORS)) @ axes.projection
    wanted = [health + (axes.start - health) * np.exp(-k / tau) for tau in rul.TIME_CONSTANTS]
    wanted.append((10 * axes.start + k * health) / (10 + k))
    np.testing.assert_allclose(found[-1, :-2], np.concatenate(wanted))
    np.testing.assert_allclose(found[-1, -2:], [0.42, 0.22])  # cycle 42, 12 seen after 10


def test_folds_hold_every_engine_out_once() -> None:
    folds = rul_fit.split(toy_fleet().engines, SMALL)
    assert sorted(x for fold in folds for x in fold) == list(range(1, 21))


def test_training_needs_no_test_file_and_writes_what_is_admitted(tmp_path: Path) -> None:
    write_fleet(toy_fleet(), tmp_path / "train_FD001.txt.gz")
    figures = train_rul.train_rul(tmp_path, tmp_path / "toy.json", SMALL)
    assert set(figures) >= {"validation_rmse_cycles", "validation_rmse_of_30_cycles"}
    assert not hasattr(train_rul, "read_test") and not hasattr(rul_fit, "read_test")
    _, data = build_bundle(tmp_path / "toy.json")
    result = decide("graph", data, ModelBounds())
    assert result.ok, result.reasons
    told = msgspec.json.decode((tmp_path / "toy.json").read_bytes(), type=Bundle)
    assert told.calibration.data == {"train_FD001.txt": read_training(tmp_path).sha256}
    with pytest.raises(Rejected, match="no test_FD001"):
        read_test(tmp_path)


def test_score_is_nasas_by_hand() -> None:
    """exp(10/10) - 1 = 1.71828 ten late, exp(13/13) - 1 the same thirteen early, 0 when right."""
    assert rul.nasa_score(np.array([10.0, -13.0, 0.0])) == pytest.approx(2 * 1.718281828)


def test_band_is_straight_between_its_knots() -> None:
    at_knots = (-3.0, -5.0, -9.0, -2.0, -1.0, 0.0)
    x = np.linspace(0, 125, 40)
    np.testing.assert_allclose(rul.bent(x, at_knots), np.interp(x, rul.KNOTS, at_knots), atol=1e-12)


def test_network_learns_a_bent_line() -> None:
    rows = np.linspace(-2, 2, 300)[:, None]
    wanted = 50 + 20 * np.tanh(2 * rows[:, 0])
    settings = Training(hidden=(8,), members=2, steps=600, batch=64, rate=0.03, decay=0.0)
    networks = train(rows, wanted, settings)
    missed = networks.mean(rows, len(rows))[:, 0] - wanted
    assert np.abs(missed).max() < 2


# -- what is refused


@pytest.mark.parametrize("main", [train_rul.main, evaluate_main])
def test_without_data_it_says_what_to_do(
    main: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(main)
    given = ["--out", str(tmp_path / "x.json")] if main is train_rul.main else []
    assert main(given) == 65
    assert "docs/prognostics.md" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"1 1 2 3\n", "26 finite"),
        (b"", "26 finite"),
        (b"spam " * 26, "not rows of numbers"),
        (b" ".join([b"1", b"2"] + [b"0"] * 24), "do not count from 1"),
        (b" ".join([b"1", b"1"] + [b"nan"] * 24), "26 finite"),
        (b"\xff\xfe", "not rows of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_a_file_that_is_not_as_published_is_refused(text: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "train_FD001.txt").write_bytes(text)
    with pytest.raises(Rejected, match=what):
        read_training(tmp_path)


def test_a_cut_gzip_and_too_few_engines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train_FD001.txt.gz"
    write_fleet(toy_fleet(3), path)
    with pytest.raises(Rejected, match="3 engines"):
        rul_fit.fit(read_training(tmp_path), SMALL)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(Rejected, match="cannot read"):
        read_training(tmp_path)
