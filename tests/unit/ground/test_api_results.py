"""Reconciliations, cases and jobs over HTTP and on the command line, without a broker."""

import asyncio
import json
import time
import warnings
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette's client warns of its own dependencies
    from fastapi.testclient import TestClient

from ground.__main__ import main
from ground.api.flightreport import WAITING_MAX, OneByOne
from ground.api.server import make_app
from ground.config import Paths, load_config
from ground.database import open_reader, open_writer
from ground.ingest.closing import Closing
from ground.ingest.ledger import Ledger
from ground.ingest.segments import SegmentReader, Segments
from ground.jobs.due import DueFlights
from ground.jobs.handlers import Context
from ground.jobs.job import Job
from ground.lake.flights import FlightFiles
from ground.reconcile.job import reconcile_flight
from ground.reconcile.result import Reconciliation, encode_result
from shared.clock import ManualClock
from shared.errors import Rejected, Unreachable
from shared.identity import Signer
from tests.unit.ground.reconcile.made import Office, engine, result
from tests.unit.ground.stores import arrivals
from tests.unit.ground.synthetic import FLIGHT, OPERATOR, TAIL, Tail

PERIOD = f"{TAIL}-3f9a1c-G00001"
ROUTE = f"/v1/flights/{FLIGHT}/reconciliation"


class Ground(Office):
    """A state folder with a ledger that a test feeds."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths.state)
        self.paths, self.tail, self.clock = paths, Tail(), ManualClock()
        segments = Segments(paths.segments, 1 << 20)
        self.reader_of_segments = SegmentReader(paths.segments)
        self.engine = open_writer(paths.ledger)
        self.ledger = Ledger(self.engine, segments, self.reader_of_segments, self.clock)
        signer = Signer.load(paths.key)
        self.closing = Closing(self.ledger, signer, OPERATOR, self.clock, 0)
        self.files = FlightFiles(open_reader(paths.ledger), self.writer, self.reader_of_segments,
                                 paths.flights, self.clock)  # fmt: skip
        self.due = DueFlights(open_reader(paths.ledger), self.jobs, self.clock)

    def put(self, *messages: tuple[str, bytes]) -> None:
        self.ledger.commit(arrivals(self.tail, *messages))
        self.closing.close_due()

    def work(self) -> None:
        while self.files.write_one_due():
            pass
        self.due.queue()

    def claim(self) -> Job:
        ((_, identity),) = self.jobs.due(1 << 62, 2)
        job = self.jobs.claim(identity, "w", 1 << 61)
        assert isinstance(job, Job)
        return job

    def reconciled(self, revision: int, *engines: Any) -> Reconciliation:
        made = msgspec.structs.replace(result(FLIGHT, revision, *engines), tail=TAIL)
        self.conclude(made)
        return made


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    paths = Paths(tmp_path / "ground")
    assert main(["init", "--state", str(paths.state), "--operator", OPERATOR]) == 0
    one = Ground(paths)
    yield one
    one.close()


@pytest.fixture
def client(ground: Ground) -> TestClient:
    app = make_app(ground.paths, load_config(ground.paths), None)
    return TestClient(app, raise_server_exceptions=False)


def ask(client: TestClient, method: str, path: str, status: int = 200, **rest: Any) -> Any:
    answer = client.request(method, path, **rest)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    return answer.json()


def test_until_there_is_a_result_the_problem_says_what_the_flight_waits_for(
    ground: Ground, client: TestClient
) -> None:
    def said(why: str, state: str | None) -> None:
        problem = ask(client, "GET", ROUTE, 404)
        assert why in problem["detail"]
        assert (problem["job"] or {"state": None})["state"] == state

    tail = ground.tail
    assert "no flight" in ask(client, "GET", ROUTE, 404)["detail"]
    ground.put(tail.signal_set(), tail.block("engine", 0, 30))
    said("not closed yet", None)
    ground.put(tail.manifest(), tail.manifest(PERIOD, parts=[]))
    said("not written yet", None)
    ground.work()
    said("is queued", "queued")
    job = ground.claim()
    said("is running", "running")
    ground.jobs.fail(job, "no such thing", 1, again=False)
    said("is failed: no such thing", "failed")
    path = f"/v1/flights/{PERIOD}/reconciliation"
    assert "ground period" in ask(client, "GET", path, 404)["detail"]
    assert ask(client, "GET", f"{ROUTE}/revisions") == {"items": []}


def test_results_come_as_they_were_made_newest_revision_first(
    ground: Ground, client: TestClient
) -> None:
    tail = ground.tail
    ground.put(tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    first, second = ground.reconciled(1, engine()), ground.reconciled(2, engine("unexplained"))
    newest = ask(client, "GET", ROUTE)
    assert newest["reconciliation"] == json.loads(encode_result(second))
    assert (newest["closure_revision"], newest["number"]) == (2, 2)
    assert newest["verdicts"][0]["kind"] == "unexplained"
    older = ask(client, "GET", f"{ROUTE}?revision=1")
    assert older["reconciliation"] == json.loads(encode_result(first))
    problem = ask(client, "GET", f"{ROUTE}?revision=7", 404)
    assert "nothing is of revision 7" in problem["detail"]
    for wrong in ("0", "x", "-1"):
        ask(client, "GET", f"{ROUTE}?revision={wrong}", 400)
    items = ask(client, "GET", f"{ROUTE}/revisions")["items"]
    assert [one["number"] for one in items] == [2, 1]


def test_a_damaged_result_is_said_without_its_path(ground: Ground, client: TestClient) -> None:
    tail = ground.tail
    ground.put(tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    ground.reconciled(1, engine())
    for path in ground.paths.blobs.rglob("*"):
        if path.is_file():
            path.write_bytes(b"{}")
    problem = ask(client, "GET", ROUTE, 500)
    assert problem["detail"] == "stored bytes are damaged" and "blobs" not in json.dumps(problem)


def test_a_body_without_end_is_refused_while_it_comes(ground: Ground) -> None:
    app = make_app(ground.paths, load_config(ground.paths), None)
    for path, method in (("/v1/cases/C000001", "PATCH"), ("/v1/what-if", "POST")):
        took, said = 0, list[MutableMapping[str, Any]]()

        async def receive() -> MutableMapping[str, Any]:
            nonlocal took
            took += 1
            assert took < 100, "it is read for ever"
            return {"type": "http.request", "body": bytes(10_000), "more_body": True}

        async def send(message: MutableMapping[str, Any], said: Any = said) -> None:
            said.append(message)

        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(),
                 "query_string": b"", "headers": [(b"content-type", b"application/json")],
                 "http_version": "1.1", "scheme": "http", "server": ("h", 1), "root_path": ""}  # fmt: skip
        asyncio.run(app(scope, receive, send))
        assert said[0]["status"] in (400, 413) and b"over the cap" in said[1]["body"]


def test_a_page_of_another_site_changes_nothing(ground: Ground, client: TestClient) -> None:
    ground.reconciled(1, engine("degrading", "hpc_eff"))
    path, change = "/v1/cases/C000001", {"by": "eve", "state": "in_work"}
    for site in ("cross-site", "same-site"):
        browser = {"Sec-Fetch-Site": site}
        assert (
            "another site"
            in ask(client, "PATCH", path, 403, json=change, headers=browser)["detail"]
        )
        ask(client, "POST", "/v1/what-if", 403, content=b"{}", headers=browser)
        ask(client, "GET", path, headers=browser)
    assert ask(client, "GET", path)["state"] == "open"
    ask(client, "PATCH", path, json=change, headers={"Sec-Fetch-Site": "same-origin"})


def test_one_report_is_made_at_a_time_and_few_may_wait() -> None:
    most = 0

    async def storm() -> list[int | BaseException]:
        gate, now = OneByOne(), [0]

        def act() -> int:
            nonlocal most
            now[0] += 1
            most = max(most, now[0])
            time.sleep(0.002)
            now[0] -= 1
            return 1

        return await asyncio.gather(*(gate.do(act) for _ in range(40)), return_exceptions=True)

    said = asyncio.run(storm())
    assert most == 1 and said.count(1) == WAITING_MAX
    assert all(isinstance(one, Unreachable) for one in said if one != 1)


def test_a_case_is_listed_shown_and_moved(ground: Ground, client: TestClient) -> None:
    ground.conclude(result("F1", 1, engine("degrading", "hpc_eff")))
    (item,) = ask(client, "GET", "/v1/cases")["items"]
    path = f"/v1/cases/{item['id']}"
    moved = ask(client, "PATCH", path, json={"by": "ann", "state": "in_work", "owner": "ann",
                                             "expected": "open"})  # fmt: skip
    assert (moved["state"], moved["owner"]) == ("in_work", "ann")
    done = ask(client, "PATCH", path, json={"by": "ann", "state": "closed", "why": "washed"})
    assert (done["state"], done["resolution"]) == ("closed", "washed")
    assert [one["to_state"] for one in done["changes"]] == ["open", "in_work", "closed"]
    assert done == ask(client, "GET", path)
    assert ask(client, "GET", "/v1/cases")["items"] == []
    assert len(ask(client, "GET", "/v1/cases?state=closed&tail=T1")["items"]) == 1
    assert ask(client, "GET", "/v1/cases?state=all&tail=T2")["items"] == []


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"state": "in_work"}, 400, "by"),
    ({"by": "ann"}, 400, "nothing to change"),
    ({"by": "ann", "state": "open"}, 400, "state"),
    ({"by": "ann", "state": "in_work", "colour": "red"}, 400, "colour"),
    ({"by": 7, "state": "in_work"}, 400, "by"),
    ({"by": "ann", "state": "rejected"}, 400, "without a reason"),
    ({"by": "ann", "state": "closed", "why": "x"}, 409, "cannot go from open to closed"),
    ({"by": "ann", "state": "in_work", "expected": "acknowledged"}, 409, "it is open"),
    ({"by": "a\nb", "state": "in_work"}, 400, "not a name"),
    ({"by": "ann", "state": "in_work", "why": "x" * 1001}, 400, "why"),
]


def test_a_wrong_change_of_a_case_is_a_problem_that_names_it(
    ground: Ground, client: TestClient
) -> None:
    ground.conclude(result("F1", 1, engine("degrading", "hpc_eff")))
    for body, status, named in WRONG:
        problem = ask(client, "PATCH", "/v1/cases/C000001", status, json=body)
        assert named in problem["detail"], body
    assert ask(client, "GET", "/v1/cases/C000001")["state"] == "open"


def test_what_is_not_there_is_404_and_what_is_no_name_400(client: TestClient) -> None:
    ask(client, "GET", "/v1/cases/C000009", 404)
    ask(client, "PATCH", "/v1/cases/C000009", 404, json={"by": "ann", "state": "in_work"})
    ask(client, "GET", "/v1/jobs/" + "0" * 16, 404)
    for path in ("/v1/cases/9", "/v1/jobs/x", "/v1/jobs?state=lost", "/v1/cases?state=lost"):
        ask(client, "GET", path, 400)


def test_jobs_are_shown_with_why_they_failed(ground: Ground, client: TestClient) -> None:
    ground.jobs.add("what_if", "k", {"x": 1}, 1)
    job = ground.claim()
    ground.jobs.fail(job, "no such engine", 2, again=False)
    (item,) = ask(client, "GET", "/v1/jobs?state=failed&kind=what_if")["items"]
    assert item == ask(client, "GET", f"/v1/jobs/{job.id}")
    assert (item["error"], item["payload"]) == ("no such engine", {"x": 1})
    assert 'tailtwin_jobs{kind="what_if",state="failed"} 1' in client.get("/metrics").text


# -- the handler itself


def test_the_handler_answers_for_flights_that_say_little_complete_or_abandoned(
    ground: Ground,
) -> None:
    tail, said = ground.tail, list[str]()
    context = Context(ground.paths, load_config(ground.paths), "j")
    ground.put(tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    ground.work()
    payload = {"tail": TAIL, "flight": FLIGHT, "revision": 1}
    made = reconcile_flight(context, payload, lambda _share, text: said.append(text))
    assert (made.flight, made.closure_revision, made.closure_state) == (FLIGHT, 1, "complete")
    assert {one.verdict.kind for one in made.engines} == {"not_enough_data"}
    assert {one.kind for one in made.inputs} >= {"closure", "manifest", "flight_file", "code"}
    assert said == ["reading records", "reconciling"]
    ground.now_ns = ground.clock.wall_ns()
    ground.conclude(made)
    assert ground.cases.listed() == []
    with ground.engine.begin() as db:  # as if its epoch had died before the manifest came
        db.exec_driver_sql("update closures set state = 'abandoned'")
        db.exec_driver_sql("delete from manifests")
    left = reconcile_flight(context, payload, lambda _share, _text: None)
    assert {one.code for one in left.findings} >= {"esn_unknown"} and left.engines == ()
    for wrong, why in (({"revision": 2}, "of revision 1 now"), ({"flight": "NONE"}, "no such")):
        with pytest.raises(Rejected, match=why):
            reconcile_flight(context, payload | wrong, lambda _share, _text: None)


# -- the command line


def cli(ground: Ground, *words: str) -> int:
    return main([*words, "--state", str(ground.paths.state)])


def test_reconcile_queues_waits_and_says_what_became_of_it(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    tail = ground.tail
    ground.put(tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    assert cli(ground, "reconcile", FLIGHT) == 65
    assert "not written yet" in capsys.readouterr().err
    ground.work()
    assert cli(ground, "reconcile", FLIGHT, "--json") == 0
    job = ground.claim()
    assert json.loads(capsys.readouterr().out)["id"] == job.id
    assert cli(ground, "reconcile", FLIGHT, "--wait", "0") == 75
    assert "is still running" in capsys.readouterr().err
    ground.jobs.fail(job, "no engine", 1, again=False)
    assert cli(ground, "jobs", "--retry", job.id) == 0
    assert cli(ground, "jobs", "--retry", job.id) == 65
    capsys.readouterr()
    assert cli(ground, "jobs") == 0
    assert "no engine" in capsys.readouterr().out
    assert cli(ground, "jobs", "--only", "queued", "--json") == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [job.id]


def test_cases_on_the_command_line_go_their_way(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.conclude(result("F1", 1, engine("degrading", "hpc_eff")))
    for words, code in (
        (("--take", "line maintenance"), 0), (("--work", "--by", "ann"), 0),
        (("--close", "washed", "--by", "ann"), 0), (("--reject", "late"), 65), ((), 0),
        (("--json",), 0),
    ):  # fmt: skip
        capsys.readouterr()
        assert cli(ground, "cases", "C000001", *words) == code, words
    file = json.loads(capsys.readouterr().out)
    assert (file["case"]["owner"], file["case"]["resolution"]) == ("line maintenance", "washed")
    assert [one["who"] for one in file["changes"]] == [
        "reconcile", "line maintenance", "ann", "ann"
    ]  # fmt: skip
    assert cli(ground, "cases") == 0
    assert "C000001" not in capsys.readouterr().out
    assert cli(ground, "cases", "--all") == 0
    assert "C000001" in capsys.readouterr().out
    assert cli(ground, "cases", "--take", "ann") == 65
    assert cli(ground, "cases", "C000009") == 65
    assert cli(ground, "cases", "--verify") == 0
    with ground.writer.begin() as db:
        db.exec_driver_sql("delete from case_changes where serial = 2")
    assert cli(ground, "cases", "--verify") == 74
    assert "Traceback" not in capsys.readouterr().err
