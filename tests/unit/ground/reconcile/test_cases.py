from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ground.reconcile.casefile import STATES, Case, State
from ground.reconcile.cases import MOVES, Conflict
from ground.reconcile.suspects import suspects_of
from shared.errors import Corrupt, Rejected
from tests.unit.ground.reconcile.made import TAIL, Office, engine, error, result


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    one = Office(tmp_path)
    yield one
    one.close()


def only(office: Office) -> Case:
    (case,) = office.cases.listed()
    return case


def trail(office: Office, identity: str) -> list[tuple[str, str, str, str]]:
    file = office.cases.file(identity)
    assert file is not None
    return [(c.who, c.what, c.from_state, c.to_state) for c in file.changes]


HPC = engine("degrading", "hpc_eff", estimate=-2.1)


# -- what opens a case


def test_a_healthy_flight_and_one_that_says_nothing_open_no_case(office: Office) -> None:
    office.conclude(result("F1", 1, engine(), engine("not_enough_data", position=1, esn="E1")))
    assert office.cases.listed() == []


@pytest.mark.parametrize(
    ("found", "kind", "subject"),
    [
        (engine("degrading", "hpc_eff"), "maintenance", "engine:E2:hpc"),
        (engine("sensor_fault", "egt"), "maintenance", "engine:E2:sensor_egt"),
        (engine("unexplained"), "maintenance", "engine:E2:unexplained"),
        (engine("model_out_of_range"), "capa", "range:E2"),
    ],
)
def test_a_verdict_opens_a_case_with_its_evidence(
    office: Office, found: Any, kind: str, subject: str
) -> None:
    stored = office.conclude(result("F1", 1, engine(position=1, esn="E1"), found))
    case = only(office)
    assert (case.kind, case.state, case.subject, case.tail) == (kind, "open", subject, TAIL)
    file = office.cases.file(case.id)
    assert file is not None
    (seen,) = file.evidence
    assert (seen.flight, seen.closure_revision, seen.result) == ("F1", 1, stored.result)
    assert seen.figures["score"] == 12.0 and seen.text == found.verdict.text
    assert trail(office, case.id) == [("reconcile", "opened", "", "open")]


def test_a_model_error_beyond_its_limit_is_one_capa_of_the_model_whatever_its_version(
    office: Office,
) -> None:
    errors = (error(9.9), error(12.0, esn="E2"), error(11.0), error(50.0, phase="climb"),
              error(50.0, n=3), error(50.0, steady=False), error(50.0, output="unheard_of"))  # fmt: skip
    office.conclude(result("F1", 1, models=errors))
    case = only(office)
    assert (case.kind, case.subject) == ("capa", "model:egt_rom:egt")
    file = office.cases.file(case.id)
    assert file is not None
    assert file.evidence[0].figures["rms"] == 12.0 and "calibrate" in case.advice
    office.conclude(result("F2", 1, models=(error(11.0, model="egt_rom-2.0.0-bb"),)))
    assert only(office).id == case.id
    assert suspects_of(result("F3", 1, models=(error(10.0),))) == []


# -- further flights


def test_a_second_flight_adds_evidence_and_opens_nothing(office: Office) -> None:
    office.conclude(result("F1", 1, HPC))
    office.conclude(result("F2", 1, engine("degrading", "hpc_flow", estimate=-1.0)))
    file = office.cases.file(only(office).id)
    assert file is not None
    assert [one.flight for one in file.evidence] == ["F1", "F2"]
    assert [one.what for one in file.changes] == ["opened", "evidence"]


def test_causes_that_readings_cannot_tell_apart_stay_one_case(office: Office) -> None:
    office.conclude(result("F1", 1, engine("degrading", "hpc_eff", other=("hpc_eff", "hpt_eff"))))
    office.conclude(result("F2", 1, engine("degrading", "hpt_eff", other=("hpt_eff", "hpc_eff"))))
    office.conclude(result("F3", 1, engine("degrading", "hpt_eff", other=("hpt_eff", "bias_egt"))))
    subjects = {one.subject for one in office.cases.listed()}
    assert subjects == {"engine:E2:hpc", "engine:E2:hpt"}


def test_two_engines_have_two_cases(office: Office) -> None:
    office.conclude(result("F1", 1, HPC, engine("degrading", "hpc_eff", position=1, esn="E1")))
    assert [one.subject for one in office.cases.listed()] == ["engine:E1:hpc", "engine:E2:hpc"]


def test_a_closed_case_whose_finding_comes_again_has_a_new_one_that_names_it(
    office: Office,
) -> None:
    office.conclude(result("F1", 1, HPC))
    first = only(office).id
    office.cases.move(first, "ann", 1, to="in_work")
    office.cases.move(first, "ann", 2, to="closed", why="core wash")
    office.conclude(result("F1", 2, HPC))  # the same flight again is nothing new
    assert [one.id for one in office.cases.listed()] == [first]
    office.conclude(result("F2", 1, HPC))
    again, closed = office.cases.listed()
    assert (again.state, again.follows) == ("open", first)
    assert (closed.state, closed.resolution) == ("closed", "core wash")
    office.conclude(result("F3", 1, HPC))
    assert len(office.cases.listed()) == 2


def test_a_revised_closure_that_shows_it_no_more_is_told_in_the_case(office: Office) -> None:
    office.conclude(result("F1", 1, HPC))
    office.conclude(result("F1", 2, engine()))
    file = office.cases.file(only(office).id)
    assert file is not None and file.case.state == "open"
    assert [(one.closure_revision, one.shows) for one in file.evidence] == [(1, True), (2, False)]
    assert "does not show it any more" in file.changes[-1].why


# -- what people do


def test_a_case_goes_its_way_with_owner_resolution_and_trail(office: Office) -> None:
    office.conclude(result("F1", 1, HPC))
    case = only(office).id
    office.cases.move(case, "ann", 1, to="acknowledged", owner="ann")
    office.cases.move(case, "ann", 2, owner="bob")
    office.cases.move(case, "bob", 3, to="in_work", expected="acknowledged")
    done = office.cases.move(case, "bob", 4, to="closed", why="HPC washed, EGT back by 18 K")
    assert (done.state, done.owner, done.resolution) == (
        "closed", "bob", "HPC washed, EGT back by 18 K"
    )  # fmt: skip
    assert trail(office, case) == [
        ("reconcile", "opened", "", "open"), ("ann", "acknowledged", "open", "acknowledged"),
        ("ann", "owner", "acknowledged", "acknowledged"),
        ("bob", "in_work", "acknowledged", "in_work"), ("bob", "closed", "in_work", "closed"),
    ]  # fmt: skip


WAYS: dict[State, tuple[State, ...]] = {
    "open": (), "acknowledged": ("acknowledged",), "in_work": ("in_work",),
    "closed": ("in_work", "closed"), "rejected": ("rejected",),
}  # fmt: skip


@pytest.mark.parametrize("start", STATES)
def test_only_the_ways_that_are_drawn_can_be_gone(office: Office, start: State) -> None:
    for k, to in enumerate(STATES[1:]):
        office.conclude(result("F1", 1, engine("degrading", "hpc_eff", esn=f"E{k}")))
        case = office.cases.listed()[0].id
        for step in WAYS[start]:
            office.cases.move(case, "ann", 1, to=step, why="because")
        before = office.cases.file(case)
        if to in MOVES[start] or (to == start and start in ("acknowledged", "in_work")):
            assert office.cases.move(case, "ann", 2, to=to, why="because").state == to
        else:
            with pytest.raises(Conflict):
                office.cases.move(case, "ann", 2, to=to, why="because")
            assert office.cases.file(case) == before


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"by": "", "to": "in_work"}, "by"),
    ({"by": "a\x1b[2J", "to": "in_work"}, "by"),
    ({"by": "a" * 65, "to": "in_work"}, "by"),
    ({"by": "ann"}, "nothing to change"),
    ({"by": "ann", "to": "open"}, "opened by a finding"),
    ({"by": "ann", "to": "lost"}, "no state"),
    ({"by": "ann", "to": "rejected"}, "without a reason"),
    ({"by": "ann", "to": "rejected", "why": "  "}, "without a reason"),
    ({"by": "ann", "to": "rejected", "why": "x" * 1001}, "line of text"),
    ({"by": "ann", "to": "in_work", "expected": "closed"}, "it is open"),
    ({"by": "ann", "owner": "o" * 65}, "owner"),
]


def test_a_wrong_change_is_refused_by_name_and_changes_nothing(office: Office) -> None:
    office.conclude(result("F1", 1, HPC))
    before = office.cases.file("C000001")
    for change, named in WRONG:
        with pytest.raises(Rejected, match=named):
            office.cases.move("C000001", now_ns=1, **change)
    assert office.cases.file("C000001") == before


def test_a_name_that_is_no_case_is_refused(office: Office) -> None:
    for name in ("", "C", "1", "Cx", "C-1", "C9999999999", "C٣"):
        with pytest.raises(Rejected, match="no case"):
            office.cases.file(name)


def test_the_chain_of_changes_shows_what_was_altered_or_removed(office: Office) -> None:
    office.conclude(result("F1", 1, HPC))
    office.conclude(result("F2", 1, HPC))
    office.cases.move("C000001", "ann", 1, to="in_work")
    assert office.cases.faults() == []
    alter(office, "update cases set state = 'closed', resolution = 'nothing'")
    assert office.cases.faults() == ["C000001 is not as its last change left it"]
    alter(office, "update cases set state = 'in_work', resolution = ''")
    alter(office, "delete from case_changes where serial = 2")
    assert office.cases.faults() == ["change 3 of C000001 does not follow the one before it"]
    alter(office, "update case_changes set body = x'00' where serial = 3")
    assert office.cases.faults() == [
        "change 3 of C000001 cannot be read", "C000001 is not as its last change left it"
    ]  # fmt: skip


def test_the_chain_shows_an_altered_resolution_and_an_altered_time(office: Office) -> None:
    office.conclude(result("F1", 1, HPC))
    office.cases.move("C000001", "ann", 1, to="acknowledged")
    office.cases.move("C000001", "ann", 2, to="closed", why="core wash")
    office.conclude(result("F1", 2, HPC))  # more evidence of a closed case leaves it whole
    assert office.cases.faults() == []
    alter(office, "update cases set resolution = 'blade replaced'")
    assert office.cases.faults() == ["C000001 is not as its last change left it"]
    alter(office, "update cases set resolution = 'core wash'")
    alter(office, "update case_changes set t_ns = 7 where serial = 3")
    assert office.cases.faults() == ["change 3 of C000001 bears another time"]


def test_what_was_said_last_is_shown_however_much_was_said_before(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.reconcile.cases.LISTED_MAX", 3)
    for k in range(5):
        office.conclude(result(f"F{k}", 1, HPC))
    office.cases.move("C000001", "ann", 1, to="acknowledged")
    with pytest.raises(Rejected, match="it is that already"):
        office.cases.move("C000001", "ann", 2, to="acknowledged")
    office.cases.move("C000001", "ann", 3, to="closed", why="core wash")
    file = office.cases.file("C000001")
    assert file is not None
    assert [one.what for one in file.changes] == ["evidence", "acknowledged", "closed"]
    assert [one.flight for one in file.evidence] == ["F2", "F3", "F4"]


def alter(office: Office, sql: str) -> None:
    with office.writer.begin() as db:
        db.exec_driver_sql(sql)


# -- results


def test_results_are_numbered_versioned_and_the_same_bytes_are_stored_once(office: Office) -> None:
    one = office.conclude(result("F1", 1, HPC))
    assert office.conclude(result("F1", 1, HPC)) == one
    again = office.conclude(result("F1", 1, engine()))
    revised = office.conclude(result("F1", 2, engine()))
    assert [one.number, again.number, revised.number] == [1, 2, 3]
    assert [x.number for x in office.results.all(TAIL, "F1")] == [3, 2, 1]
    assert office.results.newest(TAIL, "F1") == revised
    assert office.results.newest(TAIL, "F1", 1) == again
    assert office.results.newest(TAIL, "F1", 9) is None
    assert office.results.read(revised) == result("F1", 2, engine())
    assert revised.verdicts[0].kind == "healthy"


def test_a_result_of_another_flight_or_garbage_is_refused_and_opens_nothing(
    office: Office,
) -> None:
    from ground.reconcile.job import conclude
    from ground.reconcile.result import encode_result

    job = office.jobs.add("reconcile", "T1/F1/1", {"tail": TAIL, "flight": "F1", "revision": 1}, 1)
    for body in (b"{}", b'{"v": 9}', encode_result(result("F2", 1, HPC)),
                 encode_result(result("F1", 2, HPC))):  # fmt: skip
        with pytest.raises(Rejected), office.writer.begin() as db:
            conclude(db, job, body, "ab" * 32, 1)
    assert office.cases.listed() == [] and office.results.all(TAIL, "F1") == []


def test_a_damaged_or_missing_blob_is_corrupt(office: Office) -> None:
    stored = office.conclude(result("F1", 1, HPC))
    path = office.path.parent / "blobs" / stored.result[:2] / stored.result
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="not what its name says"):
        office.results.body(stored)
    path.unlink()
    with pytest.raises(Corrupt, match="cannot read"):
        office.results.body(stored)
    with pytest.raises(Rejected):
        office.blobs.get("../../etc/passwd")
