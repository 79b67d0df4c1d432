"""The gate timeline: every decision is a mark or at least a row, with its reasons."""

from __future__ import annotations

from typing import Any

import pytest

from hil.figure import Pictures
from hil.groundapi import to_text
from hil.timeline import _open_spans, timeline

S = 1_000_000_000
T0_NS = 1_772_344_800 * S


def update(t_s: int | None, decision: str, **said: Any) -> dict[str, Any]:
    """One row of report.json's `updates`."""
    empty = dict.fromkeys(("origin", "by", "set", "bundles", "name", "release", "gate", "inputs"))
    return {
        "t": None if t_s is None else to_text(T0_NS + t_s * S), "bundle": "egt/egt-2-abc.tar.zst",
        "phase": "parked", "decision": decision, "step": "offer", "reasons": [], "chained": True,
        **empty, **said,
    }  # fmt: skip


def flight(name: str = "F00001") -> Pictures:
    return Pictures(
        name=name, t0_ns=T0_NS, t_outbox_ns=[T0_NS, T0_NS + 900 * S],
        phases=[(T0_NS, "parked"), (T0_NS + 300 * S, "climb"), (T0_NS + 700 * S, "parked")],
        gate=[(T0_NS, False, "dwell: 30 s left"), (T0_NS + 60 * S, True, ""),
              (T0_NS + 280 * S, False, "engine 1 runs"), (T0_NS + 740 * S, True, "")],
    )  # fmt: skip


def test_each_decision_is_numbered_in_the_plot_and_in_the_table() -> None:
    said = timeline([flight()], [
        update(70, "activated", set="5e5e", bundles="egt 2, oil 1", origin="notice", by="J-17",
               step="swap"),
        update(400, "muted", bundle="", bundles="egt 2, oil 1", step="probation", phase="climb",
               reasons=["out_of_range: 30 of 60"]),
        update(750, "rolled_back", bundle="", bundles="egt 1", step="rollback"),
    ])  # fmt: skip
    assert said.count("<tr>") == 1 + 3
    for text in ('"text":["1","2","3"]', "swapped back", "30 of 60", "5e5e", "notice J-17"):
        assert text in said, text


def test_a_recorder_that_is_down_has_no_open_gate() -> None:
    """It says nothing of the gate when it is killed, and starts with a shut one."""
    page = flight()
    page.downs = [(T0_NS + 100 * S, T0_NS + 120 * S)]
    assert _open_spans(page, T0_NS + 900 * S) == [
        (T0_NS + 60 * S, T0_NS + 100 * S), (T0_NS + 740 * S, T0_NS + 900 * S),
    ]  # fmt: skip


def test_a_decision_without_event_time_has_its_row() -> None:
    said = timeline([flight()], [update(None, "refused", reasons=["phase: unknown"], gate="shut")])
    assert "phase: unknown" in said and ">-</td>" in said
    assert "nothing was ever heard" in said


def test_a_flight_without_an_opening_of_the_gate_has_its_marks() -> None:
    shut = Pictures(name="F1", t0_ns=T0_NS, t_outbox_ns=[T0_NS + 900 * S])
    assert '"text":["1"]' in timeline([shut], [update(9, "refused")])


def test_reasons_beyond_the_first_are_folded_away() -> None:
    said = timeline([flight()], [update(9, "refused", reasons=["a", "b", "c", "d"])])
    assert "and 2 more reasons</summary>c; d" in said


def test_what_the_aircraft_says_is_text_in_the_page() -> None:
    said = timeline([flight()], [update(9, "<b>", reasons=["<script>alert(1)</script>"])])
    table = said[said.index("<table>") :]
    assert "<script>" not in table and "<b>" not in table


@pytest.mark.parametrize("flights", [[], [Pictures(name="empty")]])
def test_a_run_without_a_look_at_the_gate_still_has_its_table(flights: list[Pictures]) -> None:
    assert "<table>" in timeline(flights, [update(9, "refused")])
    assert "Nothing was decided" in timeline(flights, [])
