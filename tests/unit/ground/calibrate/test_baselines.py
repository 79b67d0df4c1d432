"""A baseline moves by an approved maintenance event and by nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pysqlite3
import pytest

from ground.__main__ import main
from ground.calibrate.baselines import EVENTS, Approved, Baselines
from ground.commands.baseline import EVENTS as OFFERED
from ground.models.baseline import Baseline, nominal
from ground.models.turbofan.engine import load_engine_type
from ground.twins.control import Control, FittedEngine, TailFile
from shared.errors import Rejected
from tests.unit.ground.reconcile.made import Office, engine, result

ENGINE = load_engine_type()
NOW = 2_000_000_000_000_000_000
PROPOSAL = msgspec.structs.replace(
    nominal(ENGINE, "7001", "PN-1"), health={"hpc_eff": -0.002}, rows=10, source="bench"
)


@pytest.fixture
def control(tmp_path: Path) -> Control:
    one = Control.open(tmp_path / "control.db", write=True)
    one.enrol(
        TailFile(operator="OPX", tail="T1", type="B737", registration="X-T",
                 engines=[FittedEngine(1, "7001", "PN-1")]), b"k" * 32, 1,
    )  # fmt: skip
    return one


@pytest.fixture
def store(control: Control, tmp_path: Path) -> Baselines:
    return Baselines.open(tmp_path / "control.db", write=True)


def add(store: Baselines, control: Control, **given: object) -> Approved:
    values = {"proposal": PROPOSAL, "event": "installation", "by": "ab", "reason": "order 1",
              "engine_sha256": ENGINE.sha256, "now_ns": NOW, **given}  # fmt: skip
    return store.approve(control=control, **values)  # type: ignore[arg-type]  # of the test


def test_first_baseline_holds_always_and_later_ones_from_their_event_on(
    store: Baselines, control: Control
) -> None:
    first = add(store, control)
    washed = msgspec.structs.replace(PROPOSAL, health={"hpc_eff": 0.0})
    second = add(store, control, proposal=washed, event="wash", now_ns=NOW + 100, since_ns=NOW + 50)
    assert store.of_esn("7001", 5) == store.of_esn("7001", NOW + 49) == first.baseline
    assert store.of_esn("7001", NOW + 50) == store.of_esn("7001") == second.baseline
    assert store.of_esn("7002") is None
    assert [x.baseline.event for x in store.history("7001")] == ["installation", "wash"]
    assert (second.baseline.approved_by, second.baseline.reason) == ("ab", "order 1")
    assert store.faults() == []


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"event": ""}, "no maintenance event"),
        ({"event": "calibration"}, "no maintenance event"),
        ({"by": " "}, "who approves it"),
        ({"reason": ""}, "who approves it"),
        ({"proposal": msgspec.structs.replace(PROPOSAL, esn="7002")}, "no enrolled tail"),
        ({"proposal": msgspec.structs.replace(PROPOSAL, part_number="PN-2")}, "is of 'PN-2'"),
        ({"engine_sha256": "0" * 64}, "was fitted with engine type"),
        ({"since_ns": NOW + 1}, "between the last event"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_refused_and_nothing_moves(
    store: Baselines, control: Control, given: dict[str, object], what: str
) -> None:
    with pytest.raises(Rejected, match=what):
        add(store, control, **given)
    assert store.history() == []


def test_an_event_before_the_last_one_is_refused(store: Baselines, control: Control) -> None:
    add(store, control)
    add(store, control, event="wash", since_ns=NOW - 5)
    with pytest.raises(Rejected, match="between the last event"):
        add(store, control, event="wash", since_ns=NOW - 6)


def test_rows_can_be_neither_changed_nor_removed(
    store: Baselines, control: Control, tmp_path: Path
) -> None:
    add(store, control)
    db = pysqlite3.connect(str(tmp_path / "control.db"))
    replaced = (
        "insert or replace into baselines select serial, esn, since_ns, event, 'eve', approved_ns, "
        "reason, body, previous from baselines"
    )
    for text in ("update baselines set reason = 'x'", "delete from baselines", replaced):
        with pytest.raises(pysqlite3.IntegrityError, match="only added to"):
            db.execute(text)
    db.rollback()
    # whoever can drop the triggers can change a row; then the chain says so
    add(store, control, event="wash")
    db.execute("drop trigger baselines_no_update")
    db.execute("update baselines set since_ns = 7 where serial = 1")
    db.commit()
    db.close()
    assert store.faults() == ["baseline 2 does not follow the one before it"]


def test_the_command_line_says_which_row_is_not_as_it_was_approved(
    store: Baselines, control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ["baseline", "show", "--state", str(tmp_path)]
    add(store, control)
    assert main(shown) == 0
    db = pysqlite3.connect(str(tmp_path / "control.db"), isolation_level=None)
    db.execute("drop trigger baselines_no_update")
    for column, approved in (("esn", "7001"), ("approved_by", "ab"), ("event", "installation")):
        db.execute(f"update baselines set {column} = 'wash'")  # noqa: S608  # of the line above
        assert main(shown) == 74
        assert "baseline 1 is not as it was approved" in capsys.readouterr().err
        db.execute(f"update baselines set {column} = '{approved}'")  # noqa: S608
    assert main(shown) == 0
    db.close()


def test_of_two_who_approve_at_once_the_earlier_event_does_not_come_on_top(
    store: Baselines, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, control)
    encode = msgspec.json.encode

    def slow(said: Baseline, **how: Any) -> bytes:
        monkeypatch.setattr("ground.calibrate.baselines.msgspec.json.encode", encode)
        add(store, control, event="wash", since_ns=NOW)  # another is faster
        return encode(said, **how)

    monkeypatch.setattr("ground.calibrate.baselines.msgspec.json.encode", slow)
    with pytest.raises(Rejected, match="between the last event"):
        add(store, control, event="wash", since_ns=NOW - 10)


def test_ground_where_nothing_was_approved_answers_none(control: Control, tmp_path: Path) -> None:
    assert Baselines.open(tmp_path / "control.db").of_esn("7001") is None


def test_the_command_line_approves_and_shows(
    control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert OFFERED == EVENTS
    file, state = tmp_path / "b.json", ("--state", str(tmp_path))
    file.write_bytes(msgspec.json.encode(PROPOSAL))
    order = ["baseline", "approve", *state, "--event", "installation", "--file", str(file),
             "--by", "ab", "--reason", "order 1"]  # fmt: skip
    assert main([*order, "--esn", "7002"]) == 65
    assert "is of ESN 7001" in capsys.readouterr().err
    assert main([*order, "--esn", "7001"]) == 0
    assert "holds from always" in capsys.readouterr().out
    assert main(["baseline", "show", *state]) == 0
    assert "order 1" in capsys.readouterr().out
    file.write_bytes(b"{}")
    assert main([*order, "--esn", "7001"]) == 65
    assert "not a baseline" in capsys.readouterr().err


def test_an_open_case_of_the_engine_keeps_its_baseline_where_it_is(
    control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    office = Office(tmp_path)
    proposal = tmp_path / "7001.json"
    worn = msgspec.structs.replace(PROPOSAL, health={"hpc_eff": -0.03})
    proposal.write_bytes(msgspec.json.encode(worn))
    approve = ["baseline", "approve", "--state", str(tmp_path), "--esn", "7001", "--event", "wash",
               "--file", str(proposal), "--by", "ab", "--reason", "order 2"]  # fmt: skip
    office.conclude(result("F1", 1, engine("degrading", "hpc_eff", esn="7001")))
    assert main(approve) != 0
    said = capsys.readouterr().err
    assert "case C000001 is open" in said and "--close" in said
    assert Baselines.open(tmp_path / "control.db").of_esn("7001") is None
    for state in ("acknowledged", "in_work", "closed"):
        office.cases.move("C000001", "ab", NOW, to=state, why="washed, order 2")
    assert main(approve) == 0
    assert "hpc_eff is -3.00 % of the type" in capsys.readouterr().out
    office.close()
