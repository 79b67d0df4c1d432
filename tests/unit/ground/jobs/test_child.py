"""One try: what a handler may do, and what it costs."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ground.__main__ import main
from ground.jobs.attempt import Attempt, Ended
from ground.jobs.child import Frame, Task, _write, run
from ground.jobs.handlers import KINDS, Kind
from ground.jobs.job import Job
from tests.contract.job_handlers import ME
from tests.unit.ground.synthetic import OPERATOR

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "ground"
    assert main(["init", "--state", str(folder), "--operator", OPERATOR]) == 0
    return folder


@pytest.fixture(autouse=True)
def children_know_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def said(state: Path, do: str, handler: str = f"{ME}:act") -> tuple[list[Frame], Frame]:
    frames: list[Frame] = []
    last = run(Task("j", handler, {"do": do}, str(state), os.getpid()), frames.append)
    return frames, last


def test_an_answer_is_json_in_a_fixed_order_and_progress_came_before(state: Path) -> None:
    frames, last = said(state, "answer")
    assert [frame.text for frame in frames] == [f"step {k}" for k in range(5)]
    assert (last.end, bytes(last.result)) == ("done", b'{"answer":42,"nan":null}')


@pytest.mark.parametrize(
    ("do", "end", "named"),
    [
        ("raise", "error", "divided by zero"),
        ("refuse", "refused", "to do: name another"),
        ("garbage", "error", "returned set"),
        ("keys", "error", "bug"),
        ("huge", "error", "over the cap"),
        ("memory", "error", "no memory left"),
        ("nothing", "error", "returned NoneType"),
    ],
)
def test_what_is_no_answer_is_told_by_name(state: Path, do: str, end: str, named: str) -> None:
    last = said(state, do)[1]
    assert last.end == end and named in last.text


def test_a_reason_that_is_no_unicode_is_told_nevertheless() -> None:
    out = io.BytesIO()
    _write(out, Frame(end="refused", text="no flight F\udcff"))
    assert msgspec.json.decode(out.getvalue(), type=Frame) == Frame("refused", 0.0, "no flight F?")


def test_a_handler_that_does_not_exist_is_told(state: Path) -> None:
    assert "nowhere" in said(state, "answer", "ground.nowhere:act")[1].text
    assert "nothing" in said(state, "answer", f"{ME}:nothing")[1].text


def test_every_kind_has_a_handler_and_its_conclusion() -> None:
    from ground.jobs.child import resolve

    for kind in KINDS.values():
        assert callable(resolve(kind.handler)), kind
        assert not kind.conclusion or callable(resolve(kind.conclusion)), kind


def tried(state: Path, do: str, limit_s: float = 20.0, handler: str = f"{ME}:act",
          **payload: Any) -> tuple[Attempt, Ended]:  # fmt: skip
    job = Job(
        id="00000000000000aa", kind="test", key="k", state="running", attempts=1, progress=0.0,
        text="", error="", payload={"do": do, **payload}, result="", worker="", created_ns=0,
        due_ns=0, lease_ns=0, started_ns=0, ended_ns=None,
    )  # fmt: skip
    attempt = Attempt(job, Kind("test", handler, limit_s, 1), state)
    return attempt, asyncio.run(attempt.run())


def test_a_process_that_dies_ends_the_try_only(state: Path) -> None:
    assert tried(state, "die")[1] == Ended("error", "its process ended with signal SIGKILL")


def test_a_hang_is_killed_at_the_time_limit_with_all_it_started(state: Path) -> None:
    attempt, ended = tried(state, "hang", 2.5)
    assert ended == Ended("error", "no end within 2.5 s; it was at 25%")
    assert attempt.text == "about to hang"
    stat = Path(f"/proc/{int((state / 'hung').read_text())}/stat")
    deadline_s = (
        time.monotonic() + 10.0
    )  # killed; on a busy machine it still has to get its turn to die
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":  # dead, and nobody asked yet
            assert time.monotonic() < deadline_s, "what it started still runs"
            time.sleep(0.01)


def test_what_a_model_prints_is_no_frame(state: Path) -> None:
    assert tried(state, "answer")[1] == Ended("done", "", b'{"answer":42,"nan":null}')


def test_a_worker_carries_no_web_framework_and_no_model() -> None:
    code = (
        "import sys, ground.app, ground.jobs.worker, ground.reconcile.job as job\n"
        "print(*{'fastapi', 'scipy', 'onnxruntime', 'CoolProp', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
