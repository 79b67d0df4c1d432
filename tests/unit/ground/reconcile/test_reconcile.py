"""A whole flight of two engines, with what goes wrong in practice: each says so, and nothing else
stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.readings import T0_NS, mismatch, ramp, readings, schedule, truth_of
from ground.models.baseline import Baseline
from ground.reconcile.errors import EdgeSteps
from ground.reconcile.fidelity import Fidelity
from ground.reconcile.flight import EsnSeen, FlightInputs
from ground.reconcile.reconcile import reconcile
from ground.reconcile.result import (
    SERIES_POINTS_MAX,
    Reconciliation,
    decode_result,
    encode_result,
)
from ground.reconcile.rows import Rows
from shared.errors import Rejected
from shared.messages import Gap, Kpi, KpiSeries
from tests.unit.ground.reconcile.engines import FakeEngine, FakeType, baseline_of
from tests.unit.ground.reconcile.recorded import ESNS, inputs_of, set_of, write_file

BASELINES = {esn: baseline_of(esn) for esn in ESNS}
FLIGHT = schedule(300, 21)
SECOND = 1_000_000_000


def both(amount: float = -0.03) -> list[Rows]:
    """Engine 1 healthy, engine 2 losing HPC efficiency from a minute into cruise."""
    n = len(FLIGHT)
    change = {"hpc_eff": ramp(n, FLIGHT.cruise_s + 60, 120, amount)}
    found = []
    for position, changes in ((1, None), (2, change)):
        truth = truth_of(FLIGHT, FakeEngine(), changes)
        error = mismatch(FLIGHT, 20 + position)
        found.append(readings(FLIGHT, truth, 30, position, error=error))
    return found


def kpis(rows: Rows, off: float = 3.0) -> list[Kpi]:
    """What an edge model says that is `off` Cel above full fidelity, in steps of 5 s."""
    truth = truth_of(FLIGHT, FakeEngine())["egt"]
    found = []
    for i in range(0, len(FLIGHT) - 60, 60):
        steps = [round((truth[i + 5 * k : i + 5 * k + 5].mean() + off) / 0.5) for k in range(12)]
        series = [
            KpiSeries(name="egt", esn=esn, unit="Cel", lsb=0.5, measured=[0] * 12, predicted=steps)
            for esn in ESNS
        ]
        found.append(
            Kpi(bundle="egt_rom-1.0.0-aa", t0_ns=T0_NS + i * SECOND, step_s=5.0, series=series)
        )
    return found


def made(
    tmp_path: Path, rows: list[Rows] | None = None, hole: slice | None = None, quality: int = 0,
    **changed: Any,
) -> FlightInputs:  # fmt: skip
    rows = both() if rows is None else rows
    path = tmp_path / "F.parquet"
    write_file(path, rows, hole, quality)
    usual: dict[str, Any] = {"sets": [set_of()], "kpis": kpis(rows[0])}
    return inputs_of(path, rows[0], **(usual | changed))


def run(
    flight: FlightInputs, baselines: dict[str, Baseline] | None = None,
    engines: dict[str, FakeEngine | Exception] | None = None,
) -> Reconciliation:  # fmt: skip
    def fidelity_of(_: object, baseline: Baseline) -> Fidelity:
        found = (engines or {}).get(baseline.esn, FakeEngine())
        if isinstance(found, Exception):
            raise found
        return found

    used = BASELINES if baselines is None else baselines
    return reconcile(flight, FakeType(), used, fidelity_of)  # type: ignore[arg-type]  # a fake type


def codes(result: Reconciliation, esn: str | None = None) -> set[str]:
    return {x.code for x in result.findings if esn is None or x.esn == esn}


def kinds(result: Reconciliation) -> list[str]:
    return [x.verdict.kind for x in result.engines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[FlightInputs, Reconciliation]:
    flight = made(tmp_path_factory.mktemp("whole"))
    return flight, run(flight)


def test_engine_2_has_lost_hpc_efficiency_and_engine_1_is_healthy(
    whole: tuple[FlightInputs, Reconciliation],
) -> None:
    _, result = whole
    assert kinds(result) == ["healthy", "degrading"]
    verdict = result.engines[1].verdict
    assert "hpc_eff" in (verdict.cause, *verdict.not_separable)
    assert verdict.text.startswith("engine 2 (ESN 894102): ")
    hpc = next(x for x in result.engines[1].hypotheses if x.name == "hpc_eff")
    assert hpc.estimate is not None and hpc.estimate_95 is not None
    assert abs(hpc.estimate + 3.0) <= hpc.estimate_95


def test_model_error_stays_apart_from_the_deviation(
    whole: tuple[FlightInputs, Reconciliation],
) -> None:
    """The edge model is 3 Cel off full fidelity on both engines, whatever engine 2 does."""
    _, result = whole
    for esn in ESNS:
        error = next(x for x in result.models if x.esn == esn and x.phase == "cruise" and x.steady)
        assert error.mean == pytest.approx(3.0, abs=0.3) and error.model == "egt_rom-1.0.0-aa"
    egt = {x.esn: x for x in result.deviations if x.output == "egt" and x.phase == "cruise"}
    assert abs(egt["894101"].mean) < 4 < 10 < egt["894102"].mean
    delta = next(x for x in result.deltas if x.output == "egt" and x.phase == "cruise")
    assert delta.mean == pytest.approx(egt["894102"].mean - egt["894101"].mean, abs=1.0)


def test_the_result_travels_as_json_and_names_its_inputs_by_hash(
    whole: tuple[FlightInputs, Reconciliation],
) -> None:
    flight, result = whole
    data = encode_result(result)
    assert decode_result(data) == result
    assert len(data) < 400_000
    assert {x.kind for x in result.inputs} == {"flight_file", "engine_type", "baseline", "code"}
    assert all(len(x.sha256) == 64 for x in result.inputs)
    assert encode_result(run(flight)) == data, "any figure can be made again"
    with pytest.raises(Rejected, match="version 2"):
        decode_result(data.replace(b'"v":1', b'"v":2'))
    with pytest.raises(Rejected, match="not a reconciliation"):
        decode_result(b"{}")


def test_series_are_bounded_and_hold_what_a_plot_needs(
    whole: tuple[FlightInputs, Reconciliation],
) -> None:
    _, result = whole
    names = {(x.name, x.position) for x in result.series}
    assert names == {(x, n) for x in ("egt", "ff", "n2", "conditions", "health") for n in (1, 2)}
    for series in result.series:
        assert 0 < len(series.t_ns) <= SERIES_POINTS_MAX
        assert all(len(x) == len(series.t_ns) for x in series.columns.values())
    egt = next(x for x in result.series if x.name == "egt")
    assert set(egt.columns) == {"measured", "full", "deviation", "edge"}
    health = next(x for x in result.series if x.name == "health" and x.position == 2)
    assert health.columns["estimate"][-1] == pytest.approx(-3.0, abs=0.8)


def test_a_hole_is_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    result = run(made(tmp_path, hole=slice(200, 318)))
    said = next(x for x in result.findings if x.code == "holes" and x.esn == "894101")
    assert "118 s from 2026-03-01T06:06:4" in said.text
    assert kinds(result) == ["healthy", "degrading"]


def test_what_the_closure_misses_is_said(tmp_path: Path) -> None:
    gaps = [Gap(kind="records", name="block.eng1", low=10, high=17),
            Gap(kind="outage", name="eng2", missing=3)]  # fmt: skip
    found = run(made(tmp_path, gaps=gaps, esns=[]))
    said = next(x for x in found.findings if "closure" in x.text)
    assert "7 records missing, 1 outages of eng2" in said.text
    assert found.closure_state == "gaps"


def test_readings_that_are_not_good_are_a_hole_too(tmp_path: Path) -> None:
    result = run(made(tmp_path, hole=slice(200, 260), quality=2))
    assert "60 s" in next(x.text for x in result.findings if x.code == "holes")


def test_a_wrong_unit_is_refused_by_name_and_the_other_engine_is_judged(tmp_path: Path) -> None:
    result = run(made(tmp_path, sets=[set_of({"ENG1_FF": "m"})]))
    said = next(x for x in result.findings if x.code == "wrong_unit")
    assert "ENG1_FF" in said.text and "'m'" in said.text and "kg/h" in said.text
    assert kinds(result) == ["not_enough_data", "degrading"]


def test_a_missing_signal_is_named_and_the_other_engine_is_judged(tmp_path: Path) -> None:
    result = run(made(tmp_path, sets=[set_of(leave_out="ENG1_EGT")]))
    assert "ENG1_EGT" in next(x.text for x in result.findings if x.code == "no_signal")
    assert kinds(result) == ["not_enough_data", "degrading"]


def test_an_esn_that_changed_in_the_middle_is_said_and_not_judged(tmp_path: Path) -> None:
    seen = [EsnSeen(T0_NS, 1, "894101", "state"), EsnSeen(T0_NS, 2, "894102", "state"),
            EsnSeen(T0_NS + 600 * SECOND, 1, "894777", "state")]  # fmt: skip
    result = run(made(tmp_path, esns=seen))
    said = next(x for x in result.findings if x.code == "esn_changed")
    assert "894101, then 894777" in said.text
    assert kinds(result) == ["not_enough_data", "degrading"]
    assert "ESN changed" in result.engines[0].verdict.text


def test_model_outputs_of_an_esn_nobody_installed_are_said(tmp_path: Path) -> None:
    stray = Kpi(bundle="b", t0_ns=T0_NS, step_s=5.0, series=[
        KpiSeries(name="egt", esn="777", unit="Cel", lsb=1, measured=[1], predicted=[1])])  # fmt: skip
    result = run(made(tmp_path, kpis=[stray]))
    assert "ESN 777" in next(x.text for x in result.findings if x.code == "esn_changed")


def test_an_engine_without_a_baseline_is_said_and_the_other_is_judged(tmp_path: Path) -> None:
    result = run(made(tmp_path), {"894102": BASELINES["894102"]})
    assert "no_baseline" in codes(result, "894101")
    assert kinds(result) == ["not_enough_data", "degrading"]


@pytest.mark.parametrize(
    ("fails", "code"),
    [(Rejected("fitted with another type", "baseline"), "baseline_not_of_type"),
     (ZeroDivisionError("a bug"), "engine_failed")],
)  # fmt: skip
def test_one_engine_that_fails_does_not_stop_the_other(
    tmp_path: Path, fails: Exception, code: str
) -> None:
    class Broken(FakeEngine):
        def predict(self, points: Any) -> Any:
            raise fails

    broken: dict[str, FakeEngine | Exception] = {
        "894101": fails if isinstance(fails, Rejected) else Broken()
    }
    result = run(made(tmp_path), engines=broken)
    assert code in codes(result, "894101")
    assert kinds(result) == ["not_enough_data", "degrading"]


def test_a_model_that_does_not_converge_is_said_and_the_other_engine_is_judged(
    tmp_path: Path,
) -> None:
    result = run(made(tmp_path), engines={"894101": FakeEngine(deaf=slice(0, 10_000))})
    assert "not_converged" in codes(result, "894101")
    assert kinds(result) == ["model_out_of_range", "degrading"]


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    flight = made(tmp_path)
    flight.path.write_bytes(b"nothing")
    result = run(flight)
    assert "holes" in codes(result) and kinds(result) == ["not_enough_data"] * 2
    assert result.start_ns is None and not result.series


def test_a_flight_without_records_of_engines_says_so(tmp_path: Path) -> None:
    result = run(made(tmp_path, esns=[], kpis=[]))
    assert {"esn_unknown", "no_predictions"} <= codes(result) and not result.engines


def test_edge_steps_are_found_by_time() -> None:
    edge: Sequence[EdgeSteps] = [EdgeSteps("m", "egt", "1", np.zeros(0, np.int64), 1, np.zeros(0))]
    assert np.isnan(edge[0].on_rows(np.array([1]))).all()
