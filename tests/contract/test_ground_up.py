"""`tailtwin-ground up` as a person runs it: ready, restarts what dies, stops when told."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ground.__main__ import main
from shared.messages import Notice, decode
from shared.topics import subject
from tests.contract.ground_site import Site, linked
from tests.unit.ground.synthetic import FLIGHT, OPERATOR, TAIL, Tail, wait_for


class Up:
    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.log = site, folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ground", "up", "--state", str(site.paths.state)],
                stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        word, _, rest = self.process.stdout.readline().decode().partition(" ")
        assert word == "ready", self.log.read_text()
        self.summary: dict[str, Any] = json.loads(rest)

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(self.summary["http"] + path, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError as error:
            return 0, str(error)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    site = Site(tmp_path)
    site.enrol(Tail())
    one = Up(site, tmp_path)
    yield one
    if one.process.poll() is None:
        one.process.terminate()
    one.process.wait(30)
    assert one.process.stdout is not None
    one.process.stdout.close()


def test_it_is_ready_restarts_its_dead_and_stops_when_told(up: Up) -> None:
    assert up.get("/readyz") == (
        200,
        {"status": "ok", "checks": {"ingest": "ok", "ledger": "ok", "control": "ok"}},
    )
    pids = up.summary["pids"]
    assert set(pids) == {"nats", "ingest", "worker", "api"}

    async def lose_all() -> None:
        for name in ("ingest", "nats", "api", "worker"):
            os.kill(pids[name], signal.SIGKILL)
        await wait_for(lambda: len(up.events("child_died")) == 4)
        await wait_for(lambda: up.get("/readyz")[0] == 200, 30)

    asyncio.run(lose_all())
    assert {e["child"]: e["reason"] for e in up.events("child_died")} == dict.fromkeys(
        pids, "signal SIGKILL"
    )
    now = {e["child"]: e["pid"] for e in up.events("child_started")}
    up.process.terminate()
    assert up.process.wait(30) == 0
    assert [e["child"] for e in up.events("child_stopped")] == ["api", "worker", "ingest", "nats"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in now.values())


def test_its_children_die_with_it(up: Up) -> None:
    up.process.kill()
    up.process.wait()

    async def gone() -> None:
        pids = up.summary["pids"].values()
        await wait_for(lambda: not any(_runs(pid) for pid in pids))

    asyncio.run(gone())


def test_a_record_in_is_an_answer_out(up: Up) -> None:
    tail = Tail()
    site = up.site

    async def go() -> None:
        async with linked(site, tail) as link:
            await link.greet(b"n")
            blocks = [tail.block("engine", 30 * i, 30) for i in range(5)]
            await link.send(tail.signal_set(), *blocks)
            await link.wait_received("block-engine", 5)
            assert up.get(f"/v1/flights/{FLIGHT}/closure")[1]["state"] == "open"
            state = up.get(f"/v1/twins/{TAIL}/state")[1]
            assert "EGT" in state["values"]
            notices: list[Notice] = []

            async def on_notice(message: Any) -> None:
                notices.append(decode(Notice, message.data, "test"))

            await link.client.subscribe(subject(OPERATOR, TAIL, "notice"), cb=on_notice)
            await link.client.flush()
            offer = ["offer", "--state", str(site.paths.state), "--tail", TAIL, "--wait-s", "0"]
            assert await asyncio.to_thread(main, [*offer, "--target", "egt-2.tar.zst"]) == 0
            await wait_for(lambda: bool(notices))
            assert notices == [Notice(1, "offer", "egt-2.tar.zst", "operator")]

    asyncio.run(go())


def test_a_second_ground_on_the_same_folder_is_refused(up: Up) -> None:
    for name in ("ingest", "api"):  # of workers there may be any number
        done = subprocess.run(
            [sys.executable, "-m", "ground", name, "--state", str(up.site.paths.state)],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 78
        assert "already" in done.stderr and "Traceback" not in done.stderr


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
