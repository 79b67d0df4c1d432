"""`/v1/what-if`: a job at once, its answer and its page later, refusals as problems."""

import json
import warnings
from pathlib import Path

import pytest
from fastapi import FastAPI

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette's client warns of its own dependencies
    from fastapi.testclient import TestClient

from ground.api.problems import install
from ground.api.whatif import whatif_router
from ground.config import GroundConfig, HttpConfig, NatsConfig, Paths
from ground.database import open_writer
from ground.jobs.blobs import Blobs
from ground.jobs.handlers import Context
from ground.jobs.table import Jobs
from ground.whatif.answer import encode_answer
from ground.whatif.job import what_if
from shared.clock import ManualClock

ASKED = {"point": {"n1": "90 %", "mach": 0.78, "altitude": 35_000}, "set": {"hpc_eff": "-2 %"}}


class Ground:
    def __init__(self, folder: Path) -> None:
        self.paths, self.clock = Paths(folder), ManualClock()
        self.jobs = Jobs(open_writer(self.paths.control), open_writer(self.paths.control))
        self.blobs = Blobs(self.paths.blobs)
        app = FastAPI()
        install(app)
        app.include_router(whatif_router(self.jobs, self.blobs, self.clock))
        self.http = TestClient(app, raise_server_exceptions=False)

    def work(self, name: str) -> None:
        """What a worker does, without one."""
        job = self.jobs.claim(name, "w", self.clock.wall_ns())
        assert not isinstance(job, str)
        config = GroundConfig(operator="OPX", nats=NatsConfig(port=1, mqtt_port=2),
                              http=HttpConfig(port=3))  # fmt: skip
        answer = what_if(Context(self.paths, config, name), job.payload, lambda _share, _text: None)
        assert self.jobs.finish(job, self.blobs.put(encode_answer(answer)), self.clock.wall_ns())


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_a_request_is_a_job_and_its_answer_comes_with_it(ground: Ground) -> None:
    asked = ground.http.post("/v1/what-if", json=ASKED)
    assert asked.status_code == 202
    href = asked.headers["location"]
    assert asked.json()["state"] == "queued" and asked.json()["href"] == href
    assert ground.http.get(f"{href}/plot").status_code == 404
    ground.work(asked.json()["id"])
    done = ground.http.get(href).json()
    assert done["state"] == "done"
    (engine,) = done["answer"]["engines"]
    egt = next(c for c in engine["changes"] if c["output"] == "egt")
    assert egt["unit"] == "Cel" and egt["mean_change"] > 0
    page = ground.http.get(f"{href}/plot")
    assert page.headers["content-type"].startswith("text/html") and "<svg" in page.text


def test_the_same_request_while_it_waits_is_the_same_job(ground: Ground) -> None:
    first, second = (ground.http.post("/v1/what-if", json=ASKED).json() for _ in range(2))
    assert first["id"] == second["id"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"point": ASKED["point"], "set": {"hpc": -2}}, "set.hpc: no input 'hpc'"),
        ({"point": ASKED["point"], "set": {"isa_dev": "15 Cel"}}, "has its own zero"),
        ({"flight": "x" * 99}, "flight"), ({}, "one of the two"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_problem_with_a_remedy_and_no_job(
    ground: Ground, body: object, says: str
) -> None:
    answer = ground.http.post("/v1/what-if", json=body)
    problem = answer.json()
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in problem["detail"] and problem["remedy"]
    assert ground.jobs.listed() == []


def test_a_body_that_does_not_end_is_cut_off(ground: Ground) -> None:
    answer = ground.http.post("/v1/what-if", content=b'{"flight": "' + b"x" * 100_000)
    assert answer.status_code == 400 and "over the cap" in answer.json()["detail"]


def test_a_job_of_another_kind_is_no_what_if(ground: Ground) -> None:
    other = ground.jobs.add("calibrate", "k", {}, ground.clock.wall_ns())
    assert ground.http.get(f"/v1/what-if/{other.id}").status_code == 404
    assert ground.http.get("/v1/what-if/../../etc").status_code == 404


def test_openapi_says_what_may_be_asked(ground: Ground) -> None:
    body = ground.http.get("/openapi.json").json()["paths"]["/v1/what-if"]["post"]["requestBody"]
    assert {"flight", "point", "set"} <= set(
        body["content"]["application/json"]["schema"]["properties"]
    )
    json.dumps(body)
