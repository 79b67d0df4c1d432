"""The checks on updates: from the records on the ground, and red when one of them is missing."""

from __future__ import annotations

from typing import Any

from hil.decided import Published, Told, checks, rows
from hil.scenario import Expect

BUNDLES = {
    "egt_v1": Published("egt/egt-1.tar.zst", "egt", 1),
    "egt_v2": Published("egt/egt-2.tar.zst", "egt", 2),
    "oil": Published("oil/oil-1.tar.zst", "oil", 1),
}
EXPECT = Expect(refused=("egt_v2",), activated=("oil", "egt_v2"), muted=("oil",), swapped_back=1,
                proven=True)  # fmt: skip


def audit(seq: int, decision: str, phase: str = "parked", **said: str) -> dict[str, Any]:
    """One update of the API."""
    return {
        "t": f"2026-03-01T06:{seq:02}:00.000000000Z", "decision": decision, "phase": phase,
        "subject": said.pop("subject", ""), "reasons": [said.pop("why", "")], "epoch": "e",
        "seq": seq, "chained": True,
        "detail": {"gate": "open" if phase == "parked" else "shut", **said},
    }  # fmt: skip


FLOWN = [
    audit(1, "activated", step="swap", set="s1", bundles="egt 1, oil 1"),
    audit(2, "muted", "climb", step="probation", name="oil", set="s1", why="out of range"),
    audit(3, "refused", "cruise", step="offer", subject="egt/egt-2.tar.zst", why="airborne"),
    audit(4, "rolled_back", step="rollback", set="s1", why="probation"),
    audit(5, "activated", step="swap", set="s2", bundles="egt 2"),
    audit(6, "passed", step="probation", set="s2"),
]
STATE = {"aboard": {"bundles": ["egt-2"]}}
VERSION = {"runs": {"set_id": "s2", "probation": False, "bundles": [{"name": "egt", "release": 2}]}}


def failed(updates: list[dict[str, Any]], state: Any = STATE, version: Any = VERSION) -> list[str]:
    """The API answers newest first."""
    told = Told(rows(updates[::-1]), state, version)
    return [name for name, ok, _ in checks(EXPECT, BUNDLES, told) if not ok]


def without(seq: int) -> list[dict[str, Any]]:
    return [update for update in FLOWN if update["seq"] != seq]


def changed(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**u, **fields} if u["seq"] == number else u for u in FLOWN]


def test_a_run_whose_records_tell_the_whole_story_passes() -> None:
    assert failed(FLOWN) == []


def test_each_missing_record_fails_the_check_that_rests_on_it() -> None:
    assert failed(without(1)) == ["oil activated at the stand"]
    assert failed(without(2)) == ["oil failed its probation and was muted in flight"]
    assert failed(without(3)) == ["egt_v2 refused in the air"]
    assert failed(without(4)) == ["swapped back to the last known good set at the stand, 1 time(s)"]
    assert failed(without(5)) == ["egt_v2 activated at the stand"]
    assert failed(without(6)) == ["what runs at the end passed its probation"]


def test_a_swap_in_the_air_or_behind_a_shut_gate_fails() -> None:
    assert failed(changed(5, phase="cruise")) == ["egt_v2 activated at the stand"]
    shut = changed(4, detail={**FLOWN[3]["detail"], "gate": "shut"})
    assert len(failed(shut)) == 1
    assert failed(changed(2, phase="parked")) == [
        "oil failed its probation and was muted in flight"
    ]


def test_activations_out_of_order_or_twice_fail() -> None:
    assert failed([*FLOWN, audit(7, "activated", bundles="egt 1, oil 1")]) == [
        "oil activated at the stand"
    ]
    assert "egt_v2 activated at the stand" in failed(changed(5, seq=0))


def test_state_and_signed_report_have_to_agree_with_the_decisions() -> None:
    assert failed(FLOWN, state={"aboard": None}) == ["egt_v2 is what runs"]
    assert failed(FLOWN, version={"runs": None}) == [
        "egt_v2 is what runs", "what runs at the end passed its probation"
    ]  # fmt: skip
    assert failed(FLOWN, version={"runs": {**VERSION["runs"], "probation": True}}) == [
        "what runs at the end passed its probation"
    ]


def test_a_broken_chain_of_decisions_fails() -> None:
    assert failed(changed(4, chained=False)) == [
        "every decision on updates is chained to the one before it"
    ]


def test_decisions_of_a_later_epoch_come_after_those_of_the_first() -> None:
    later = {**audit(0, "passed", step="probation"), "epoch": "a", "t": "2026-03-02T06:00:00Z"}
    assert [row["decision"] for row in rows([later, *FLOWN])][-1] == "passed"
    early = audit(0, "refused") | {"t": "1970-01-01T00:00:00.000000000Z"}
    assert rows([*FLOWN, early])[0]["t"] is None
