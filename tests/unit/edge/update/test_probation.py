"""Probation: one whole flight within range, or the bundle is muted; none counted is no pass."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge.models.step import NO_NUMBER, RESTARTED, ModelStep
from edge.update.probation import Probation, ProbationState, Tally, resume, tally
from shared.bundle import Output
from tests.fakes.bundles import bundle as egt_bundle

N = 60
FRESH = ProbationState(set_id="s", names=("egt", "vib"), fresh=("egt",), since_ns=5)


def fly(probation: Probation, flight: str = "F1", good: int = N, *, flew: bool = True) -> bool:
    probation.off_block(flight)
    for name in probation.state.names:
        probation.took(name, Tally(good=good))
    return probation.ended(flight, flew=flew)


def test_a_whole_flight_within_range_passes() -> None:
    probation = Probation(FRESH)
    assert probation.waits_for() == "the next whole flight"
    assert fly(probation)


def test_none_counted_is_no_pass_and_the_next_flight_may_be_one() -> None:
    probation = Probation(FRESH)
    probation.off_block("F1")
    assert not probation.ended("F1", flew=True)
    assert probation.state.flights == 1
    assert not fly(probation, "F2", N - 1)
    assert fly(probation, "F3")


def test_every_bundle_has_to_predict() -> None:
    probation = Probation(FRESH)
    probation.off_block("F1")
    probation.took("egt", Tally(good=10 * N))
    assert probation.waits_for() == "predictions in range of vib (0 of 60)"
    assert not probation.ended("F1", flew=True)


def test_a_flight_whose_beginning_was_not_seen_does_not_count() -> None:
    probation = Probation(FRESH)
    for name in FRESH.names:
        probation.took(name, Tally(good=10 * N))
    assert not probation.ended("F1", flew=True)


def test_a_tow_is_no_flight() -> None:
    assert not fly(Probation(FRESH), flew=False)


def test_another_period_that_ends_is_not_the_flight() -> None:
    probation = Probation(FRESH)
    probation.off_block("F1")
    for name in FRESH.names:
        probation.took(name, Tally(good=N))
    assert not probation.ended("F0", flew=True) and not probation.ended("", flew=True)
    assert probation.waits_for() == "the end of this flight"
    assert probation.ended("F1", flew=True)


def test_a_share_out_of_range_fails_once_enough_were_counted() -> None:
    probation = Probation(FRESH)
    assert probation.took("egt", Tally(out=N - 1)) == ""
    why = probation.took("egt", Tally(out=1))
    assert why == "60 of 60 predictions out of range, 100.0% over 50%"
    assert probation.took("egt", Tally(out=1)) == "", "it fails once"
    assert probation.state.failed == {"egt": why}
    assert not fly(probation), "what failed passes no more"


def test_a_few_out_of_range_are_borne() -> None:
    probation = Probation(FRESH)
    assert probation.took("egt", Tally(good=570, out=30)) == ""
    assert probation.took("egt", Tally(out=1)).startswith("31 of 601")


def test_a_start_transient_alone_bars_no_model() -> None:
    """Ten seconds of two engines, in the first minute."""
    probation = Probation(FRESH)
    probation.off_block("F1")
    assert probation.took("egt", Tally(good=100, out=20)) == ""
    assert probation.took("egt", Tally(good=480)) == ""
    assert probation.took("egt", Tally(out=11)).startswith("31 of 611")


def test_hours_within_range_do_not_excuse_what_comes_after_them() -> None:
    """Ten hours of two engines at 1 Hz: of all of them 5 % would be half an hour."""
    probation = Probation(FRESH)
    for _ in range(36_000):
        assert probation.took("egt", Tally(good=2)) == ""
    assert any(probation.took("egt", Tally(out=2)) for _ in range(95))
    assert "out of range" in probation.state.failed["egt"]


def test_what_happened_before_off_block_does_not_dilute_the_flight() -> None:
    probation = Probation(FRESH)
    probation.took("egt", Tally(good=100_000))
    probation.off_block("F1")
    assert probation.took("egt", Tally(good=29, out=31)).startswith("31 of 60")


def test_no_number_from_good_inputs_fails_at_once() -> None:
    probation = Probation(FRESH)
    why = probation.took("vib", Tally(good=1, not_finite=1))
    assert why == "no number from good inputs, 1 times"


def test_a_worker_that_dies_a_third_time_blames_what_is_new_in_the_set() -> None:
    probation = Probation(FRESH)
    assert probation.worker_died(1, "hangs") == {} == probation.worker_died(1, "hangs")
    assert probation.worker_died(0, "hangs") == {}
    assert probation.worker_died(1, "crash") == {"egt": "the worker died 3 times, at last: crash"}
    assert probation.worker_died(1, "crash") == {}
    months = Probation(FRESH)
    for flight in range(9):
        months.off_block(f"F{flight}")
        assert months.worker_died(1, "hangs") == {}
    all_new = Probation(msgspec.structs.replace(FRESH, fresh=()))
    assert set(all_new.worker_died(3, "x")) == {"egt", "vib"}


def test_the_state_survives_a_restart_and_the_flight_goes_on() -> None:
    before = Probation(FRESH)
    before.off_block("F1")
    before.took("egt", Tally(good=N))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(before.state), type=ProbationState)
    after = Probation(resume(kept, "s", ("egt", "vib"), ("egt",), {}, 9))
    after.took("vib", Tally(good=N))
    assert after.state.since_ns == 5 and after.ended("F1", flew=True)


def test_the_state_of_another_set_is_not_taken_and_a_mute_outlives_a_lost_outbox() -> None:
    assert resume(FRESH, "t", ("b", "a"), ("a",), {}, 9) == ProbationState(
        set_id="t", names=("a", "b"), fresh=("a",), since_ns=9
    )
    again = Probation(resume(None, "s", ("egt", "vib"), (), {"egt": "out of range"}, 9))
    assert not fly(again)


def step(predicted: list[float], reasons: list[str], valid: tuple[float, float] | None) -> Tally:
    bundle = egt_bundle()
    first = bundle.outputs[0]
    ports = (msgspec.structs.replace(first, valid=valid or msgspec.UNSET),)
    assert isinstance(ports[0], Output)
    column = np.array(predicted)[:, None]
    nothing = np.full_like(column, np.nan)
    return tally(
        ModelStep(
            msgspec.structs.replace(bundle, outputs=ports), "egt", 0, nothing, nothing, column,
            tuple(reasons),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("predicted", "reasons", "valid", "expected"),
    [
        ([500.0, 900.0], ["", ""], (0.0, 800.0), Tally(1, 1)),
        ([500.0, 9e9], ["", ""], None, Tally(2)),
        ([500.0, np.nan], ["", NO_NUMBER], (0.0, 800.0), Tally(1, 0, 1)),
        ([np.nan, np.nan], [RESTARTED, "no N1"], None, Tally(0, 0, 1)),
        ([np.nan, np.nan], ["no N1", "ESN X"], None, Tally()),
    ],
)
def test_a_step_counts_engines_with_a_prediction_and_blames_the_model_only_for_its_own(
    predicted: list[float],
    reasons: list[str],
    valid: tuple[float, float] | None,
    expected: Tally,
) -> None:
    assert step(predicted, reasons, valid) == expected
