"""What is no wear of an engine, and must not be told as one: inputs that are wrong, two causes at
once, a change beyond all that is tried; and what a verdict claims it would have seen."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest

from bench.readings import Schedule, mismatch, readings, schedule, truth_of
from ground.models.baseline import nominal
from ground.models.turbofan.engine import load_engine_type
from ground.reconcile.errors import EngineRows, deltas_of
from ground.reconcile.fidelity import TurbofanFidelity
from ground.reconcile.judge import judge
from ground.reconcile.result import EngineResult, Reconciliation, Verdict
from ground.reconcile.rows import binding_of
from ground.reconcile.suspects import suspects_of

Float64 = npt.NDArray[np.float64]
ENGINE = load_engine_type()
BASELINE = nominal(ENGINE, "894101")
FIDELITY = TurbofanFidelity(ENGINE, BASELINE)
SIGMA = {"n2": 0.02, "egt": 0.9, "ff": 3.0}


def verdict(
    biases: dict[str, Float64 | float] | None = None, lost: dict[str, float] | None = None,
    flight: Schedule | None = None, flown: Schedule | None = None,
) -> Verdict:  # fmt: skip
    """flown: what the engine really met, where it is not what was read."""
    flight = flight or schedule(420, 3)
    n = len(flight)
    truth = truth_of(flown or flight, FIDELITY, {x: np.full(n, v) for x, v in (lost or {}).items()})
    rows = readings(flight, truth, 5, error=mismatch(flight, 5), biases=biases)
    return judge(rows, binding_of(1), BASELINE, FIDELITY).result.verdict


@pytest.mark.parametrize(
    ("quantity", "off"), [("tat", -3.0), ("tat", 4.0), ("n1", -0.6), ("n1", 0.7)]
)
def test_an_input_that_reads_wrong_is_no_component(quantity: str, off: float) -> None:
    found = verdict({quantity: off})
    assert (found.kind, found.cause) == ("sensor_fault", quantity), found.text
    assert found.estimate is not None and found.estimate_95 is not None
    assert abs(found.estimate - off) <= 1.5 * found.estimate_95
    assert "touched" in found.advice


@pytest.mark.parametrize("off", [-400.0, 400.0])
def test_a_wrong_altitude_is_named_beside_the_fuel_flow_that_it_looks_like(off: float) -> None:
    found = verdict({"altitude": off})
    assert found.kind == "sensor_fault"
    assert "bias_altitude" in (f"bias_{found.cause}", *found.not_separable), found.text


def test_a_bleed_that_is_not_as_its_signal_says_is_no_fan() -> None:
    flight = schedule(420, 3)
    shut = Schedule(
        flight.columns | {"bleed": np.zeros(len(flight))}, flight.phase, flight.cruise_s
    )
    found = verdict(flight=flight, flown=shut)
    assert (found.kind, found.cause) == ("sensor_fault", "bleed"), found.text


def test_a_sensor_that_goes_off_does_not_cover_an_engine_that_is_worn() -> None:
    flight = schedule(420, 3)
    step = np.where(np.arange(len(flight)) > 760, 6.0, 0.0)
    found = verdict({"egt": step}, {"hpc_eff": -0.015}, flight)
    assert found.kind == "unexplained", found.text
    assert "EGT sensor" in found.text and ("HPC" in found.text or "HPT" in found.text)


@pytest.mark.parametrize(
    ("signal", "said"), [("ENG1_EGT", "EGT"), ("AIR_TAT", "TAT"), ("ENG1_N1", "N1")]
)
def test_a_reading_that_is_not_there_is_named_and_not_waited_for(signal: str, said: str) -> None:
    flight = schedule(420, 3)
    rows = readings(flight, truth_of(flight, FIDELITY), 5)
    rows.columns[signal][:] = np.nan
    found = judge(rows, binding_of(1), BASELINE, FIDELITY).result.verdict
    assert found.kind == "not_enough_data"
    assert f"no good reading of {said} " in found.text, found.text
    assert "wait" not in found.advice


def test_the_end_of_what_is_tried_is_no_estimate() -> None:
    found = verdict(lost={"hpc_eff": -0.10})
    assert (found.kind, found.estimate) == ("unexplained", None), found.text
    assert "HPC efficiency beyond -8 %" in found.text


def test_a_healthy_engine_is_told_what_would_really_have_been_seen() -> None:
    claimed = re.search(r"about ([\d.]+) %", verdict().advice)
    assert claimed is not None
    assert verdict(lost={"hpc_eff": -float(claimed[1]) / 100}).kind == "degrading"


def test_one_case_for_an_input_that_all_engines_share() -> None:
    def engine(position: int, esn: str, cause: str) -> EngineResult:
        said = Verdict(kind="sensor_fault", text="x", advice="x", cause=cause)
        return EngineResult(position=position, esn=esn, baseline="", baseline_event="", rows=1,
                            good={}, running=1, steady=1, windows=1, verdict=said)  # fmt: skip

    result = Reconciliation(
        tail="T1", flight="F1", closure_revision=1, closure_state="complete", start_ns=None,
        end_ns=None, inputs=(), engine_type="x",
        engines=(engine(1, "A", "tat"), engine(2, "B", "tat"), engine(3, "C", "n1")),
    )  # fmt: skip
    subjects = [x.subject for x in suspects_of(result)]
    assert subjects == ["tail:T1:sensor_tat", "tail:T1:sensor_tat", "engine:C:sensor_n1"]


def test_an_engine_to_engine_delta_is_no_surer_than_two_baselines() -> None:
    n = 200
    rng = np.random.default_rng(1)
    both = [
        EngineRows(
            i, str(i), np.arange(n) * 10**9, np.full(n, "cruise"),
            {x: 100 + rng.normal(0, 0.1, n) for x in ("n2", "egt", "ff")},
            {x: np.full(n, 100.0) for x in ("n2", "egt", "ff")}, np.ones(n, np.bool_),
        )
        for i in (1, 2)
    ]  # fmt: skip
    found = next(x for x in deltas_of(both[0], both[1], [SIGMA, SIGMA]) if x.output == "egt")
    assert found.mean_95 is not None and found.mean_95 >= 1.96 * np.sqrt(2) * SIGMA["egt"]
