"""A real repository, served over real HTTP on loopback, and an aircraft beside it.

The server can be told to lie: other bytes for a path, a status, or a body that drips.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edge.models.admission import AdmissionResult
from edge.update.client import fetch_bundle, provision
from edge.update.decisions import UpdateDecision
from edge.update.gate import GateDecision, GateReason
from edge.update.slots import Slots
from edge.update.updates import UpdateClient
from edge.update.verified import FetchAnswer, FetchRequest, VerifiedBundle
from shared.clock import ManualClock
from shared.phases import Phase
from signing.keys import KeyFolder
from signing.publish import Declared, Repository
from signing.verify import Aircraft, Applicability

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY_S = 86_400.0
AIRCRAFT = Aircraft(tail="B737-33102", type="B737-800", esns=("802001", "802002"))
FITS = Applicability(types=("B737-800",), esns=("802001", "802002"))
OPEN = GateDecision(True, (), 0, 0.0, Phase.PARKED)
SHUT = GateDecision(False, (GateReason("phase", "phase is cruise"),), 0, 30.0, Phase.CRUISE)


@dataclass
class Server:
    """What it serves is `folder`, unless `lies` has something else for a path."""

    folder: Path
    lies: dict[str, bytes | int] = field(default_factory=dict)
    drip_s: float = 0.0
    drips: str = ""
    asked: list[str] = field(default_factory=list)
    url: str = ""
    hold: threading.Event = field(default_factory=threading.Event)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            server.asked.append(path)
            lie = server.lies.get(path)
            if isinstance(lie, int):
                self.send_error(lie)
                return
            file = server.folder / path
            if lie is None and not file.is_file():
                self.send_error(404)
                return
            data = lie if lie is not None else file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if not server.drips or server.drips not in path:
                self.wfile.write(data)
                return
            for byte in data:
                if server.hold.wait(server.drip_s):
                    return
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return

    return Handler


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.hold.set()
        http.shutdown()
        thread.join()
        http.server_close()


class Shop:
    """Signs what the tests need, at a time they choose."""

    def __init__(self, folder: Path, threshold: int = 2, now: datetime = NOW) -> None:
        self.folder, self.keys = folder / "repo", KeyFolder(folder / "keys")
        self.at(now).create(self.keys, 3, threshold)

    def at(self, now: datetime) -> Repository:
        return Repository(self.folder, now)

    def publish(
        self,
        release: int,
        who: Applicability = FITS,
        now: datetime = NOW,
        name: str = "egt",
        content: bytes | None = None,
    ) -> str:
        file = self.folder.parent / f"{name}-{release}.0.0.tar.zst"
        file.write_bytes(content or f"{name} release {release} ".encode() * 50)
        bundle = Declared(
            file=file, data=file.read_bytes(), name=name, release=release, applicability=who
        )
        self.at(now).publish(self.keys, [bundle])
        return f"{name}/{file.name}"

    def metadata(self, name: str) -> Path:
        return self.folder / "metadata" / name

    def root(self) -> bytes:
        return self.metadata("1.root.json").read_bytes()


def clock_at(now: datetime = NOW) -> ManualClock:
    return ManualClock(0, int(now.timestamp()) * 1_000_000_000)


class RealMono(ManualClock):
    """A wall clock that a test sets, and the machine's own monotonic one: sockets need it."""

    def mono_ns(self) -> int:
        return time.monotonic_ns()


class Aboard:
    """One aircraft's update parts, with release 1 live, its gate open, and all that it decided."""

    def __init__(self, folder: Path, shop: Shop, server: Server) -> None:
        self.state = folder / "state"
        self.trust = self.state / "tuf" / "image"
        self.server, self.clock = server, RealMono(0, clock_at().wall_ns())
        self.gate = OPEN
        self.decisions: list[UpdateDecision] = []
        self.aircraft = AIRCRAFT
        self.deadline_s = 5.0
        self.admits, self.loads = True, True
        self.judged_release = 0
        self.on_step: Callable[[str], None] = lambda step: None
        provision(self.trust, shop.root())
        self.slots = Slots(self.state)
        first = self.fetch(shop.publish(1))
        assert isinstance(first, VerifiedBundle), first
        self.slots.install_first([first])
        first.file.unlink()

    def fetch(self, target: str, **changes: object) -> FetchAnswer:
        request = FetchRequest(
            folder=str(self.trust), url=self.server.url, target=target, aircraft=self.aircraft,
            releases=self.slots.releases(), deadline_s=self.deadline_s,
        )  # fmt: skip
        for key, value in changes.items():
            request = FetchRequest(**{**_fields(request), key: value})  # type: ignore[arg-type]
        return fetch_bundle(request, self.clock)

    async def _fetch(self, target: str, releases: object) -> FetchAnswer:
        self.on_step("download")
        await asyncio.sleep(0.01)  # a thread cannot be cancelled once it runs; the real child can
        return await asyncio.to_thread(self.fetch, target)

    async def _admit(self, bundle: VerifiedBundle) -> AdmissionResult:
        self.on_step("admission")
        await asyncio.sleep(0.01)
        return AdmissionResult(
            self.admits, [] if self.admits else ["operator Loop"],
            bundle.sha256, bundle.name, "", self.judged_release or bundle.release,
        )  # fmt: skip

    async def _load(self, live: object) -> list[str]:
        return [] if self.loads else ["the worker did not start"]

    def client(self, retry_s: float = 60.0) -> UpdateClient:
        return UpdateClient(
            slots=self.slots, fetch=self._fetch, admit=self._admit, load=self._load,
            ask=lambda: self.gate, record=self.decisions.append, clock=self.clock, retry_s=retry_s,
        )  # fmt: skip

    def live_release(self) -> int:
        live = self.slots.live()
        assert live is not None
        return live.bundles[0].release

    def said(self) -> list[tuple[str, str]]:
        return [(d.step, d.decision) for d in self.decisions]


def _fields(request: FetchRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


async def settle(client: UpdateClient, done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Run the client until `done`, then stop it."""
    task = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(seconds):
            while not done():
                await asyncio.sleep(0.005)
                assert not task.done() or task.exception() is None, task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def later(days: float) -> datetime:
    return NOW + timedelta(days=days)
