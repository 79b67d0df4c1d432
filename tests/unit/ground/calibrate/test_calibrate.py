"""Calibration reduces model error, follows no sensor, and widens no limit."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest

from ground.calibrate import calibrate as module
from ground.calibrate import flown as reading
from ground.calibrate import job
from ground.calibrate.calibrate import Calibrated, Flown, calibrate, check_numbers, usable
from ground.calibrate.flown import read_flown
from ground.calibrate.job import Order, Published, declared, published, write_request
from ground.calibrate.recipe import load_recipe
from ground.calibrate.table import Draws
from ground.calibrate.type_rom import reduce_type
from ground.config import GroundConfig, HttpConfig, NatsConfig, Paths
from ground.jobs.handlers import Context
from ground.models.baseline import INPUTS, nominal
from ground.models.turbofan.engine import load_engine_type
from ground.reconcile.flight import FlightInputs
from shared.bundle import Bundle, Calibratable, unpack
from shared.bundlefile import pack_declared, pretty
from shared.errors import Rejected, Unreachable
from shared.profile import ModelBounds
from shared.request import FILE, SigningRequest, load_request, summary
from shared.signals import load_signal_set
from tests.fakes.attested import attested
from tests.unit.ground.calibrate.flights import profile, shown

ENGINE = load_engine_type()
MODELS = Path("firmware_profiles/models")
RECIPE = load_recipe(MODELS / "egt_rom_v1.toml")
SIGNALS = load_signal_set(MODELS / RECIPE.signal_set)
DRAWS = Draws(fit=900, judge=300, seed=1)
SEEN = {"smoothed_rms": {"egt": 0.2, "ff": 2.0}, "smoothed_worst": {"egt": 0.8, "ff": 6.0}}
BASELINES = {
    esn: msgspec.structs.replace(nominal(ENGINE, esn), health=health, **SEEN)
    for esn, health in (
        ("894101", {"hpc_eff": 0.004, "fan_flow": -0.003}), ("894102", {"hpt_eff": -0.006}),
    )
}  # fmt: skip


def flown(seed: int, minutes: int = 20) -> list[Flown]:
    inputs = profile(seed, minutes)
    return [Flown(f"F{seed}", 2, esn, inputs) for esn in BASELINES]


@pytest.fixture(scope="module")
def before() -> Bundle:
    recipe = msgspec.structs.replace(RECIPE, draws=Draws(fit=1200, judge=200, seed=1))
    return reduce_type(recipe, SIGNALS)


@pytest.fixture(scope="module")
def made(before: Bundle) -> Calibrated:
    return calibrate(before, ENGINE, BASELINES, flown(1), 2, draws=DRAWS, tail="B737-28001")


def test_model_error_shrinks_on_flights_and_on_minutes_that_drew_nothing(made: Calibrated) -> None:
    for error in made.errors:
        assert error.n >= 50
        if error.output == "egt":
            assert error.after_rms < 0.5 * error.before_rms, error
    card = made.bundle.model_card.figures
    assert card["held_out_points"] > 200 and card["egt_held_out_rms"] < 2.0


def test_the_signer_is_told_where_the_release_before_spoke_and_this_one_is_silent(
    before: Bundle,
) -> None:
    low = {**profile(1, 20), "altitude": np.minimum(profile(1, 20)["altitude"], 8000.0)}
    hop = calibrate(before, ENGINE, BASELINES, [Flown("F1", 1, esn, low) for esn in BASELINES],
                    2, draws=DRAWS)  # fmt: skip
    assert any(x.startswith("silent beyond altitude -1000 to 15000") for x in hop.notes), hop.notes
    same = module.silenced(before, before, [Flown("F1", 1, "894101", low)])
    assert list(same) == []


def test_what_the_sensors_showed_is_not_read_let_alone_fitted(
    before: Bundle, made: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engine 2 loses 3 % of compressor efficiency in one file of the same flight, and has no EGT
    at all in another: three times the same inputs, so the same candidate."""
    inputs = profile(1, 20)
    worn = shown(ENGINE, inputs, {"hpt_eff": -0.006, "hpc_eff": -0.03}, 1)
    healthy = shown(ENGINE, inputs, {"hpt_eff": -0.006}, 1)
    assert np.nanmean(worn["egt"] - healthy["egt"]) > 20
    found = []
    for name, egt in (("worn", worn["egt"]), ("healthy", healthy["egt"]), ("none", None)):
        path = tmp_path / f"{name}.parquet"
        write_flight(path, inputs, egt)
        flight = FlightInputs("T1", "F1", "flight", 2, "complete", (), path, (SIGNALS,), (), (),
                              (), ())  # fmt: skip
        monkeypatch.setattr(reading, "read_flight", lambda *_, flight=flight: flight)
        rows, notes = read_flown(None, tmp_path, "T1", ["F1"], before)  # type: ignore[arg-type]  # not asked
        assert notes == [] and all(set(x.inputs) == set(INPUTS) for x in rows)
        found.append(rows)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            for name in INPUTS:
                np.testing.assert_array_equal(one.inputs[name], two.inputs[name])


def write_flight(path: Path, inputs: dict[str, np.ndarray], egt: np.ndarray | None) -> None:
    names = {x.inputs[k]: k for x in RECIPE.instances for k in INPUTS}
    rows = []
    for signal, name in names.items():
        s = SIGNALS.signal(signal)
        raw = np.round((inputs[name] - s.offset) / s.scale).astype(int)
        rows += [(signal, i * 10**9, int(x), 0) for i, x in enumerate(raw)]
    if egt is not None:
        s = SIGNALS.signal("ENG2_EGT")
        rows += [("ENG2_EGT", i * 10**9, round((x - s.offset) / s.scale), 0)
                 for i, x in enumerate(egt) if np.isfinite(x)]  # fmt: skip
    with duckdb.connect() as db:
        columns = list(zip(*rows, strict=True))
        table = dict(zip(("signal", "t_ns", "raw", "quality"),
                         (np.array(c) for c in columns), strict=True))  # fmt: skip
        db.register("flight", table)
        db.sql("select * from flight").write_parquet(str(path))


def test_candidate_keeps_names_and_monitors_and_speaks_only_where_its_parent_does(
    before: Bundle, made: Calibrated
) -> None:
    after = made.bundle
    assert [x.name for x in after.monitors] == [x.name for x in before.monitors]
    assert after.instances == before.instances and after.outputs == before.outputs
    valid = {x.name: x.valid for x in after.inputs}
    rng = np.random.default_rng(5)
    inputs = {name: rng.uniform(*valid[name], 300) for name in INPUTS}
    inputs |= {name: np.clip(inputs[name], 0, 1) for name in ("bleed", "anti_ice")}
    assert usable(after, inputs).all()
    from ground.calibrate.parent import turbofan_parent

    assert np.isfinite(turbofan_parent(ENGINE, BASELINES["894102"])(inputs)["egt"]).all()


def test_limits_follow_the_stated_rule_and_only_get_tighter(
    before: Bundle, made: Calibrated
) -> None:
    (old,), (new,) = before.monitors, made.bundle.monitors
    assert 5.0 <= new.onset < old.onset and new.clear == new.onset / 2
    wide = {
        esn: msgspec.structs.replace(x, smoothed_worst={"egt": 30.0, "ff": 6.0})
        for esn, x in BASELINES.items()
    }
    with pytest.raises(Rejected, match="wider than 20 of release 1"):
        calibrate(before, ENGINE, wide, flown(1), 2, draws=DRAWS)


def test_provenance_names_parent_baselines_and_closures(made: Calibrated) -> None:
    said = made.bundle.calibration
    assert made.bundle.full_fidelity == f"hbtf_cfm56 sha256:{ENGINE.sha256}"
    assert said.baselines == {esn: x.sha256 for esn, x in BASELINES.items()}
    assert said.flights == ("F1#2",) and said.seeds == (1,)
    assert "sources sha256:" in said.fitted_by


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"baselines": {}}, "no approved baseline of ESN 894101, 894102"),
        ({"release": 1}, "release 1 does not grow"),
        ({"flown": []}, "no row is inside"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    before: Bundle, change: dict[str, object], what: str
) -> None:
    given: dict[str, object] = {"baselines": BASELINES, "flown": flown(1), "release": 2, **change}
    with pytest.raises(Rejected, match=what):
        calibrate(before, ENGINE, draws=DRAWS, **given)  # type: ignore[arg-type]  # of the test


def test_engine_that_was_changed_is_left_out_and_said(
    before: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ground.reconcile.flight import EsnSeen

    path = tmp_path / "f.parquet"
    write_flight(path, profile(1, 4), None)
    seen = (EsnSeen(1, 1, "894101", "state"), EsnSeen(1, 2, "700000", "state"))
    flight = FlightInputs("T1", "F1", "flight", 1, "complete", (), path, (SIGNALS,), (), seen,
                          (), ())  # fmt: skip
    monkeypatch.setattr(reading, "read_flight", lambda *_: flight)
    rows, notes = read_flown(None, tmp_path, "T1", ["F1"], before)  # type: ignore[arg-type]  # not asked
    assert [x.esn for x in rows] == ["894101"]
    assert notes == ["F1: position 2 had ESN 700000, left out"]


# -- the request, and the signer


@pytest.fixture(scope="module")
def parent(before: Bundle) -> bytes:
    """The type's release as it is published."""
    return attested(pack_declared(before)[1])[1]


@pytest.fixture
def request_folder(before: Bundle, parent: bytes, made: Calibrated, tmp_path: Path) -> Path:
    order = Order(tail="B737-28001", before=before, parent=parent, release=2, by="ab")
    write_request(order, made, ["one note"], tmp_path / "request", 5)
    return tmp_path / "request"


def test_request_names_its_files_by_hash_and_reads_well(
    request_folder: Path, made: Calibrated, parent: bytes
) -> None:
    request, files = load_request(request_folder)
    assert declared(request_folder / request.declaration) == (made.bundle, b"")
    packed = (request_folder / request.bundle).read_bytes()
    assert declared(request_folder / request.bundle) == (made.bundle, packed)
    assert files.bundle == made.bundle
    assert (request_folder / request.parent).read_bytes() == parent
    assert request.parent_sha256 == hashlib.sha256(parent).hexdigest()
    text = summary(request, files.bundle)
    for part in ("egt_rom 2.0.0, release 2", "F1#2", "ESN 894102 egt, held out", "one note", "by",
                 "may run on    types B737", f"numbers of    {request.parent}"):  # fmt: skip
        assert part in text
    assert sorted(p.name for p in request_folder.iterdir()) == sorted(
        [FILE, request.bundle, request.declaration, request.parent]
    )


def test_ground_goes_on_from_the_types_release_and_the_newest_of_the_tail(
    before: Bundle, parent: bytes, made: Calibrated, tmp_path: Path
) -> None:
    targets = tmp_path / "image" / "targets"

    def put(folder: str, data: bytes) -> None:
        file = unpack(data, ModelBounds())
        (targets / folder).mkdir(parents=True, exist_ok=True)
        (targets / folder / f"{file.sha256}.{file.filename}").write_bytes(data)

    put("egt_rom", parent)
    assert published(tmp_path, "egt_rom", "T1") == Published(parent, before, 2)
    put("cal/T1/egt_rom", pack_declared(made.bundle)[1])
    assert published(tmp_path, "egt_rom", "T1") == Published(parent, made.bundle, 3)
    assert published(tmp_path, "egt_rom", "T2") == Published(parent, before, 2)
    (next((targets / "egt_rom").iterdir())).write_bytes(b"other")
    with pytest.raises(Rejected, match="not the bytes that its name says"):
        published(tmp_path, "egt_rom", "T1")
    with pytest.raises(Rejected, match="no bundle of 'none'"):
        published(tmp_path, "none", "T1")


def test_second_calibration_has_the_numbers_of_the_type_and_the_limits_of_the_first(
    before: Bundle, made: Calibrated
) -> None:
    again = calibrate(before, ENGINE, BASELINES, flown(2), 3, draws=DRAWS, before=made.bundle,
                      tail="B737-28001")  # fmt: skip
    assert again.bundle.monitors[0].onset <= made.bundle.monitors[0].onset
    assert again.bundle.calibration.source.endswith("numbers of release 1")
    check_numbers(again.bundle, before)
    with pytest.raises(Rejected, match="release 2 does not grow"):
        calibrate(before, ENGINE, BASELINES, flown(2), 2, draws=DRAWS, before=made.bundle)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"calibratable": msgspec.UNSET}, "lets a calibration change nothing"),
        ({"full_fidelity": "another sha256:00"}, "stands for another"),
        (
            {"calibratable": {"c24": Calibratable(low=0.999, high=1.001, of="parent")}},
            "beyond 0.999",
        ),
    ],
)
def test_parent_that_does_not_allow_it_has_no_calibration(
    before: Bundle, change: dict[str, object], what: str
) -> None:
    with pytest.raises(Rejected, match=what):
        calibrate(
            msgspec.structs.replace(before, **change), ENGINE, BASELINES, flown(1), 2, draws=DRAWS
        )


def test_request_that_was_tampered_with_is_not_signed(
    request_folder: Path, before: Bundle, parent: bytes, tmp_path: Path
) -> None:
    request, files = load_request(request_folder)
    louder = msgspec.structs.replace(
        files.bundle, monitors=(msgspec.structs.replace(files.bundle.monitors[0], onset=99.0),)
    )

    def changed(what: str, **fields: object) -> Path:
        folder = tmp_path / what
        shutil.copytree(request_folder, folder)
        lie = msgspec.to_builtins(request) | fields
        (folder / FILE).write_bytes(msgspec.json.encode(lie))
        return folder

    bundle = changed("bundle")
    (bundle / request.bundle).write_bytes(pack_declared(before)[1])
    declaration = changed("declaration")
    (declaration / request.declaration).write_bytes(pretty(louder))
    text = pretty(louder)
    both = changed("both", declaration_sha256=hashlib.sha256(text).hexdigest())
    (both / request.declaration).write_bytes(text)
    name, data = pack_declared(louder)
    wider = changed("wider", bundle=name, bundle_sha256=hashlib.sha256(data).hexdigest(),
                    declaration_sha256=hashlib.sha256(text).hexdigest())  # fmt: skip
    (wider / request.declaration).write_bytes(text)
    (wider / name).write_bytes(data)
    other = changed("other parent")
    (other / request.parent).write_bytes(pack_declared(before)[1])
    missing = changed("missing")
    (missing / request.bundle).unlink()
    for folder, what in (
        (bundle, "sha-256 is"), (declaration, "sha-256 is"), (both, "not what the bundle says"),
        (changed("numbers", release=9), "differ from the bundle's"),
        (changed("provenance", flights=["ANOTHER#1"]), "baselines or flights differ"),
        (changed("path", bundle="../x.tar.zst"), "no signing request"), (missing, "cannot read"),
        (wider, "no calibration of its parent: monitor egt_deviation_high: onset 99"),
        (other, "sha-256 is"), (changed("parent", parent_sha256=""), "a parent without"),
    ):  # fmt: skip
        with pytest.raises((Rejected, Unreachable), match=what):
            load_request(folder)


def test_request_of_no_parent_is_for_the_offline_signers(
    before: Bundle, made: Calibrated, tmp_path: Path
) -> None:
    order = Order(tail="B737-28001", before=before, release=2, by="ab")
    write_request(order, made, [], tmp_path / "request", 5)
    request, files = load_request(tmp_path / "request")
    assert request.parent_sha256 == "" and "offline signers" in summary(request, files.bundle)


def test_packed_candidate_is_one_that_admission_could_read(made: Calibrated) -> None:
    name, data = pack_declared(made.bundle)
    assert name.startswith("egt_rom-2.0.0-")
    assert unpack(data, ModelBounds()).bundle == made.bundle


def test_same_flights_and_baselines_give_the_same_candidate(before: Bundle) -> None:
    small = Draws(fit=300, judge=100, seed=1)
    wide = msgspec.structs.replace(
        before, monitors=(msgspec.structs.replace(before.monitors[0], onset=200.0),)
    )
    one, two = (calibrate(wide, ENGINE, BASELINES, flown(1, 8), 2, draws=small) for _ in range(2))
    assert one.bundle == two.bundle


def test_job_takes_an_order_as_json_and_refuses_what_it_does_not_know(
    before: Bundle, parent: bytes, made: Calibrated, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def make_request(
        _paths: Paths, order: Order, out: Path, now_ns: int, _say: object
    ) -> SigningRequest:
        return write_request(order, made, [], out, now_ns)

    monkeypatch.setattr(job, "make_request", make_request)
    config = GroundConfig(
        operator="OPX", nats=NatsConfig(port=1, mqtt_port=2), http=HttpConfig(port=3)
    )
    context = Context(Paths(tmp_path), config, "j1")
    payload = {"tail": "T1", "before": msgspec.to_builtins(before), "release": 2, "by": "ab",
               "parent": base64.b64encode(parent).decode()}  # fmt: skip
    for _ in range(2):  # a second try of the same job finds the folder of the first
        answer = job.calibrate(context, payload, lambda _share, _text: None)
    assert answer["request"]["release"] == 2
    load_request(Path(answer["folder"]))
    wrong: list[dict[str, object]] = [{"colour": "red"}, {"before": {}}, {"release": "two"}]
    for change in wrong:
        with pytest.raises(Rejected):
            job.calibrate(context, {**payload, **change}, lambda _share, _text: None)
