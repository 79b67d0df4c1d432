"""`tailtwin-edge updates` as a technician reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from edge.__main__ import main
from edge.commands.updates import lines
from edge.update.memory import Awaited, UpdateMemory
from edge.update.overview import Overview
from tests.unit.edge.test_upkeep import Stand


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    stand = Stand(tmp_path, monkeypatch)
    with stand.runner:
        yield stand


def told(stand: Stand, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["updates", "--state", str(stand.state)]) == 0
    return capsys.readouterr().out.splitlines()


def test_where_a_rollback_leads_is_said_before_and_after_a_set_has_passed(
    stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    first = stand.bay.answer().id
    assert {f"last known good set {first}, the live one", "goes back to    nothing"} <= set(
        told(stand, capsys)
    )
    stand.bay.update(egt=2, vib=1)
    second = stand.bay.answer().id
    behind = f"goes back to    set {first}"
    assert {f"last known good set {first}", behind} <= set(told(stand, capsys))
    stand.bay.slots.prove()
    assert {f"last known good set {second}, the live one", behind} <= set(told(stand, capsys))
    (stand.state / "slots/a/egt-1.0.0.tar.zst").write_bytes(b"rot")
    assert "goes back to    nothing" in told(stand, capsys)


def test_who_asks_for_a_look_has_to_be_said(
    stand: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["updates", "--state", str(stand.state), "--look"]) != 0
    assert "--by" in capsys.readouterr().err


def test_a_set_that_somebody_has_accepted_waits_for_the_gate_and_for_nobody() -> None:
    waits = UpdateMemory(awaited=Awaited(set_id="3f9a1c0d5e7b2468", bundles=("egt 2",)))
    shown = Overview(
        set_id="", slot="", bundles=[], fault="", last_good="", left=[], probation=None,
        probation_waits_for="", waits=waits, roles=[], needed=[], decisions=[], goes_back_to="",
    )  # fmt: skip
    told = "\n".join(lines(shown))
    assert "for a technician: tailtwin-edge accept 3f9a1c0d5e7b2468" in told
    accepted = structs.replace(waits, accepted={"3f9a1c0d5e7b2468": "J-17"})
    told = "\n".join(lines(structs.replace(shown, waits=accepted)))
    assert "set 3f9a1c0d5e7b2468 (egt 2) for the open gate, accepted by J-17" in told
    assert "for a technician" not in told
