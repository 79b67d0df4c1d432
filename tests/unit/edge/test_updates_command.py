"""`tailtwin-edge updates` as a technician reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.__main__ import main
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
