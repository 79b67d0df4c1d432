"""A report out of the stores of a ground: by command line and by HTTP."""

import warnings
from pathlib import Path

import msgspec
import pytest
from fastapi import FastAPI

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette's client warns of its own dependencies
    from fastapi.testclient import TestClient

from ground.__main__ import main
from ground.api.flightreport import flightreport_router
from ground.api.problems import install
from ground.commands import report
from ground.flightreport.gather import Stores, gather
from ground.flightreport.stores import made_of
from ground.jobs.blobs import Blobs
from ground.reconcile.evidence import take
from ground.reconcile.result import encode_result
from ground.reconcile.store import Reconciliations, add
from ground.twins.control import Control
from shared.errors import Rejected
from tests.unit.ground.flightreport import samples
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import FLIGHT, TAIL, Tail


@pytest.fixture
def stores(tmp_path: Path, store: Store, tail: Tail) -> Stores:
    """A flight with one block, reconciled, with a case."""
    store.put(tail, tail.signal_set(), tail.block("engine", 0, 30))
    control = Control.open(tmp_path / "control.db", write=True)
    blobs = Blobs(tmp_path / "blobs")
    result = msgspec.structs.replace(samples.reconciliation(), tail=TAIL, flight=FLIGHT)
    body = encode_result(result)
    name = blobs.put(body)
    with control.engine.begin() as db:
        stored = add(db, result, name, len(body), "job", 5)
        take(db, stored, result, 5)
    return made_of(store.records, control, Reconciliations(control.engine, blobs), store.clock)


def test_a_report_has_the_result_and_its_cases(stores: Stores) -> None:
    found = gather(stores, FLIGHT)
    assert found.reconciliation is not None
    assert found.reconciliation.engines[1].esn == "700102"
    assert [case.case for case in found.cases] and found.cases[0].owner == ""


def test_a_damaged_result_is_said_and_the_report_still_comes(
    stores: Stores, tmp_path: Path
) -> None:
    (blob,) = (tmp_path / "blobs").glob("*/*")
    blob.write_bytes(b"x")
    found = gather(stores, FLIGHT)
    assert found.reconciliation is None and "not what its name says" in found.why_none


def test_no_such_flight_is_refused(stores: Stores) -> None:
    with pytest.raises(Rejected, match="no such flight"):
        gather(stores, "B737-9-F1")


def test_the_api_gives_the_page_and_the_paper(stores: Stores) -> None:
    app = FastAPI()
    install(app)
    app.include_router(flightreport_router(stores))
    http = TestClient(app, raise_server_exceptions=False)
    page = http.get(f"/v1/flights/{FLIGHT}/report.html")
    assert page.status_code == 200 and "700102" in page.text
    paper = http.get(f"/v1/flights/{FLIGHT}/report.pdf")
    assert paper.headers["content-type"] == "application/pdf" and paper.content[:5] == b"%PDF-"
    assert http.get("/v1/flights/nobody/report.pdf").status_code == 404


def test_the_command_writes_a_file_or_says_why_not(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("ground.flightreport.stores.stores_of", lambda _paths: stores)
    out = tmp_path / "report.pdf"
    assert main(["report", FLIGHT, "--state", str(tmp_path), "--out", str(out)]) == 0
    assert out.read_bytes()[:5] == b"%PDF-" and out.name in capsys.readouterr().out
    assert main(["report", FLIGHT, "--state", str(tmp_path), "--out", "report.doc"]) == 65
    assert "'.doc' is no form of a report" in capsys.readouterr().err
    assert report.SUFFIXES == (".pdf", ".html")
