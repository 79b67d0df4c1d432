"""The engine under other conditions: signs, held thrust, flights, and what has no answer."""

import dataclasses
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from ground.models.baseline import Baseline, nominal
from ground.models.turbofan.engine import EngineType, load_engine_type
from ground.paper.page import page
from ground.reconcile.flight import EsnSeen, FlightInputs
from ground.reconcile.rows import PhaseChange
from ground.whatif.answer import Answer, encode_answer
from ground.whatif.conditions import changed, of_point
from ground.whatif.drag import drag_n
from ground.whatif.engine import SHOWN_MAX
from ground.whatif.paper import document
from ground.whatif.request import Asked, check
from ground.whatif.run import Sources, run
from shared.errors import Rejected
from shared.signals import load_signal_set

ROOT = Path(__file__).parents[4]
SET = load_signal_set(ROOT / "firmware_profiles" / "signals" / "b737_bench.toml")
POINT = {"n1": 90, "mach": 0.78, "altitude": 35_000}
T0 = 1_780_000_000
SECONDS = 40


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> FlightInputs:
    """Parked for 10 s with the engine too slow for the model, then cruise; no Mach for 3 s."""
    values = {"ENG1_N1": [20.0] * 10 + [88.0] * 30, "AIR_MACH": [0.0] * 10 + [0.74] * 30,
              "AIR_ALT": [200.0] * 10 + [33_000.0] * 30, "AIR_TAT": [15.0] * 10 + [-26.0] * 30,
              "ENG1_BLEED": [1.0] * SECONDS, "ENG1_AI": [0.0] * SECONDS}  # fmt: skip
    rows = []
    for name, column in values.items():
        signal = SET.signal(name)
        for k, value in enumerate(column):
            if name == "AIR_MACH" and 20 <= k < 23:
                continue
            raw = round((value - signal.offset) / signal.scale)
            rows.append((name, (T0 + k) * 10**9, raw, 0))
    path = tmp_path_factory.mktemp("flight") / "F.parquet"
    with duckdb.connect() as db:
        db.execute("create table s (signal varchar, t_ns bigint, raw bigint, quality utinyint)")
        db.executemany("insert into s values (?, ?, ?, ?)", rows)
        db.execute(f"copy s to '{path}' (format parquet)")
    return FlightInputs(
        "T", "F", "flight", 1, "complete", (), path, (SET,),
        (PhaseChange(T0 * 10**9, "parked"), PhaseChange((T0 + 10) * 10**9, "cruise")),
        (EsnSeen(0, 1, "E1", "test"),), (), (),
    )  # fmt: skip


def sources(flight: FlightInputs | None = None, baseline: Baseline | None = None) -> Sources:
    def found(name: str) -> FlightInputs:
        if flight is None:
            raise Rejected("no such flight", name)
        return flight

    return Sources(load_engine_type, found, lambda _esn, _at_ns: baseline)


def ask(of: FlightInputs | None = None, **asked: object) -> Answer:
    return run(check(Asked(**asked)), sources(of))  # type: ignore[arg-type]


def mean(answer: Answer, output: str, phase: str = "all") -> float:
    return next(c.mean_change for c in answer.engines[0].changes
                if c.output == output and c.phase == phase)  # fmt: skip


def test_a_worn_compressor_burns_more_and_hotter_for_the_same_thrust() -> None:
    answer = ask(point=POINT, set={"hpc_eff": "-2 %"}, hold="thrust")
    assert mean(answer, "egt") > 5 and mean(answer, "ff") > 0
    assert abs(mean(answer, "thrust")) < 20
    assert answer.engines[0].margins[1].margin_k < answer.engines[0].margins[0].margin_k


def test_nothing_changed_changes_nothing() -> None:
    answer = ask(point=POINT, set={})
    assert [c.mean_change for c in answer.engines[0].changes] == [0.0] * 5


def test_a_hot_day_leaves_less_margin_and_says_so() -> None:
    answer = ask(point={"n1": 95, "mach": 0, "altitude": 0}, set={"ambient": "50 Cel"},
                 egt_limit="930 Cel")  # fmt: skip
    before, after = answer.engines[0].margins
    assert before.margin_k > 0 > after.margin_k and after.points_above == 1
    assert before.limit_cel == 930.0


def test_payload_takes_the_thrust_that_drag_asks_for() -> None:
    answer = ask(point=POINT, set={"gross_weight": "50 t", "payload": "+3 t"})
    mach, altitude = np.array([0.78]), np.array([35_000.0])
    wanted = float((drag_n(mach, altitude, 53_000) / drag_n(mach, altitude, 50_000))[0])
    thrust = next(c for c in answer.engines[0].changes if c.output == "thrust")
    assert thrust.changed / thrust.baseline == pytest.approx(wanted, rel=2e-3)
    assert any("drag" in note for note in answer.notes)


def test_margins_are_of_the_points_that_both_cases_answer(flight: FlightInputs) -> None:
    """Payload answers cruise only: beside the margin at take-off it would look like a gain."""
    phases = (PhaseChange(T0 * 10**9, "climb"), PhaseChange((T0 + 25) * 10**9, "cruise"))
    climbed = dataclasses.replace(flight, phases=phases)
    answer = ask(climbed, flight="F", set={"gross_weight": "50 t", "payload": "+3 t"})
    before, after = answer.engines[0].margins
    assert before.phase == after.phase == "cruise"
    assert after.margin_k < before.margin_k


def test_drag_is_that_of_the_polar_by_hand() -> None:
    """q = 0.7 p M2 = 10,154 Pa, S = 108.79 m2, 50 t: CL 0.4439, a 0.0561, CD 0.0340."""
    assert drag_n(np.array([0.78]), np.array([35_000.0]), 50_000)[0] == pytest.approx(
        37_570, rel=5e-3
    )


def test_more_than_the_wing_can_carry_is_refused() -> None:
    answer = ask(point={"n1": 90, "mach": 0.3, "altitude": 35_000},
                 set={"gross_weight": "70 t", "payload": "+3 t"})  # fmt: skip
    assert answer.engines[0].refused[0].reason == "not_level_flight"


def test_thrust_that_no_fan_speed_gives_is_refused() -> None:
    answer = ask(point={"n1": 94, "mach": 0.78, "altitude": 35_000, "isa_dev": -10},
                 set={"fan_flow": "-10 %", "fan_eff": "-10 %"}, hold="thrust")  # fmt: skip
    (refused,) = answer.engines[0].refused
    assert (refused.case, refused.reason) == ("changed", "thrust_not_reached")
    assert answer.engines[0].changes == ()


def test_a_warmer_day_moves_total_temperature_by_the_mach_factor() -> None:
    columns = of_point(
        {"n1": 90, "mach": 0.8, "altitude": 35_000, "isa_dev": 0, "bleed": 1, "anti_ice": 0}
    )
    after = changed(columns, {"isa_dev": 15.0})
    assert after["tat"][0] - columns["tat"][0] == pytest.approx(15 * 1.128)


def test_another_altitude_keeps_the_day() -> None:
    columns = of_point(
        {"n1": 90, "mach": 0.0, "altitude": 10_000, "isa_dev": 7, "bleed": 1, "anti_ice": 0}
    )
    after = changed(columns, {"altitude": -10_000.0})
    assert after["tat"][0] == pytest.approx(22.0)


def test_a_flight_is_answered_by_phase_and_refused_where_the_model_is_silent(
    flight: FlightInputs,
) -> None:
    answer = ask(flight, flight="F", set={"isa_dev": "+15 K"})
    engine = answer.engines[0]
    assert (engine.esn, engine.position, engine.points) == ("E1", 1, SECONDS)
    assert {c.phase for c in engine.changes} == {"all"} or mean(answer, "egt", "cruise") > 0
    refused = {(r.reason, r.points) for r in engine.refused if r.case == "baseline"}
    assert refused == {("out_of_range", 10), ("bad_input", 3)}
    assert engine.series["baseline"]["egt"][5] is None
    assert any("nominal" in note for note in answer.notes)


def test_a_flight_takes_the_baseline_of_its_engine(flight: FlightInputs) -> None:
    engine: EngineType = load_engine_type()
    worn = Baseline(esn="E1", part_number="P", engine_type=engine.name,
                    engine_type_sha256=engine.sha256, health={"hpc_eff": -0.01}, rows=9, source="t")  # fmt: skip
    request = check(Asked(flight="F", set={"hpc_eff": "-1 %"}))
    own = run(request, sources(flight, worn)).engines[0]
    type_ = run(request, sources(flight, nominal(engine, "E1"))).engines[0]
    assert own.baseline_sha256 == worn.sha256
    first = next(v for v in own.series["baseline"]["egt"] if v is not None)
    assert first == next(v for v in type_.series["changed"]["egt"] if v is not None)


def test_ambient_of_a_flight_shifts_every_second_by_one_difference(flight: FlightInputs) -> None:
    answer = ask(flight, flight="F", set={"ambient": "30 Cel"})
    assert mean(answer, "egt") > 0


def test_an_engine_the_flight_has_not_is_refused_by_name(flight: FlightInputs) -> None:
    with pytest.raises(Rejected, match="no engine E9"):
        ask(flight, flight="F", esn="E9")


def test_an_answer_is_json_and_a_page_and_stays_small(flight: FlightInputs) -> None:
    answer = ask(flight, flight="F", set={"payload": "-2 t", "gross_weight": "50 t"})
    body = json.loads(encode_answer(answer))
    assert body["engines"][0]["series"]["changed"]["n1"]
    text = page(document(answer))
    assert "\u22122000 kg" in text and text.count("<svg") == 3 and "<script" not in text
    assert SHOWN_MAX * 2 * 5 * 12 < 1 << 20


def test_a_long_flight_is_thinned_for_drawing_and_not_for_figures(
    flight: FlightInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(flight, flight="F", set={"isa_dev": "+15 K"}).engines[0]
    monkeypatch.setattr("ground.whatif.engine.SHOWN_MAX", 10)
    thin = ask(flight, flight="F", set={"isa_dev": "+15 K"}).engines[0]
    assert (len(thin.t_ns), thin.shown_every_s, thin.points) == (10, 4, SECONDS)
    assert len(thin.series["changed"]["egt"]) == len(thin.phase) == 10
    assert thin.changes == whole.changes and thin.margins == whole.margins
