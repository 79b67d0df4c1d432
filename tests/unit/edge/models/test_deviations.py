"""Monitors of bundles on model steps."""

from __future__ import annotations

import msgspec
import numpy as np

from edge.models.alerts import AlertBook
from edge.models.deviations import Deviations
from edge.models.step import ModelStep
from shared.bundle import Bundle
from shared.messages import Alert
from shared.phases import Phase
from tests.fakes.bundles import bundle

S = 1_000_000_000


def step(
    t_s: int,
    deviation: tuple[float, float],
    n1: float = 80.0,
    declared: Bundle | None = None,
    label: str = "egt_rom-1",
) -> ModelStep:
    declared = declared or bundle()
    inputs = np.array([[n1, 0.5, 20000.0, 0.0, 1.0]] * 2)
    predicted = np.array([[600.0, 1000.0]] * 2)
    measured = predicted + np.array([[deviation[0], 0.0], [deviation[1], 0.0]])
    reasons = tuple("no n1" if np.isnan(x) else "" for x in deviation)
    return ModelStep(declared, label, t_s * S, inputs, measured, predicted, reasons, ("eng2", t_s))


def fly(
    monitors: Deviations, start_s: int, seconds: int, engine_2: float,
    phase: Phase = Phase.CRUISE, n1_per_s: float = 0.0, label: str = "egt_rom-1",
) -> list[Alert]:  # fmt: skip
    return [
        alert
        for t in range(start_s, start_s + seconds)
        for alert in monitors.judge(
            step(t, (0.0, engine_2), 80 + n1_per_s * (t - start_s), label=label), phase
        )
    ]


def test_deviation_of_one_engine_raises_its_alert_and_not_the_others() -> None:
    book = AlertBook()
    (alert,) = fly(Deviations(book), 0, 120, 20.0)
    assert (alert.change, alert.esn, alert.name) == ("onset", "ESN2", "egt_deviation")
    # steady after 10 s, smoothed after another 10, then 20 s of persistence
    assert alert.onset_ns == 39 * S and alert.trigger == ("eng2", 39)
    assert (alert.signal, alert.unit, alert.bundle) == ("ENG2_EGT", "Cel", "egt_rom-1")
    assert book.standing() == ["egt_deviation-ESN2"]


def test_nothing_is_judged_while_thrust_moves_or_outside_the_phases() -> None:
    monitors = Deviations(AlertBook())
    assert fly(monitors, 0, 200, 50.0, n1_per_s=0.2) == []
    assert fly(monitors, 200, 200, 50.0, phase=Phase.CLIMB) == []
    assert len(fly(monitors, 400, 200, 50.0)) == 1


def test_standing_alert_outlives_no_prediction_engine_off_other_phases_and_a_swap() -> None:
    book = AlertBook()
    monitors = Deviations(book)
    fly(monitors, 0, 120, 20.0)
    assert fly(monitors, 120, 300, float("nan")) == []
    assert fly(monitors, 420, 300, 0.0, phase=Phase.PARKED) == []
    assert fly(monitors, 720, 60, 12.0, label="egt_rom-2") == []
    assert book.standing() == ["egt_deviation-ESN2"]
    again = AlertBook()
    again.restore(book.snapshot())
    (clear,) = fly(Deviations(again), 800, 300, 0.0, label="egt_rom-2")
    assert (clear.change, clear.bundle) == ("clear", "egt_rom-2")
    assert clear.id == f"egt_deviation-ESN2-{39 * S}"


def test_one_spike_is_smoothed_away() -> None:
    monitors = Deviations(AlertBook())
    for t in range(300):
        assert monitors.judge(step(t, (60.0 if t % 100 == 50 else 0.0, 0.0)), Phase.CRUISE) == []


def test_missing_input_breaks_steadiness() -> None:
    monitors = Deviations(AlertBook())
    for t in range(200):
        n1 = float("nan") if t % 8 == 0 else 80.0
        assert monitors.judge(step(t, (50.0, 50.0), n1), Phase.CRUISE) == []


def test_monitor_without_steadiness_or_smoothing_judges_each_step() -> None:
    plain = msgspec.structs.replace(
        bundle().monitors[0], steady=None, smoothing_s=0.0, persistence_s=0.0, phases=()
    )
    declared = msgspec.structs.replace(bundle(), monitors=(plain,))
    monitors = Deviations(AlertBook())
    assert monitors.judge(step(0, (14.0, 0.0), declared=declared), Phase.CLIMB) == []
    (alert,) = monitors.judge(step(1, (16.0, 0.0), declared=declared), Phase.CLIMB)
    assert alert.esn == "ESN1" and alert.value == 16.0
