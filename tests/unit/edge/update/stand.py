"""Both repositories, signed by the real signer, and an aircraft beside them.

A source is the folder itself, or real HTTP on loopback that can be told to lie: other bytes for a
path, a status, or a body that drips. What is in the bundles is not looked at unless a test asks.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
from tuf.api.metadata import Root

from edge.update.choice import Wanted
from edge.update.contents import check_contents
from edge.update.gate import GateDecision, GateReason
from edge.update.provision import provision
from edge.update.session import fetch_set
from edge.update.slots import Slots
from edge.update.verified import FetchAnswer, FetchFailure, FetchRequest, VerifiedSet
from shared.clock import ManualClock
from shared.phases import Phase
from signing.attest import attest
from signing.declare import Declared
from signing.keys import KeyFolder
from signing.repositories import Repositories
from signing.verify import Aircraft, Applicability
from tests.fakes.attested import CLAIMS, POLICY
from tests.fakes.bundles import packed

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY_S = 86_400.0
TAIL = "B737-33102"
AIRCRAFT = Aircraft(tail=TAIL, type="B737-800", esns=("802001", "802002"))
MODEL = Applicability(types=("B737",), esns=("ESN1", "ESN2"))
MODEL_AIRCRAFT = Aircraft(tail=TAIL, type="B737", esns=("ESN1", "ESN2"))
"""Whom the real bundle of tests.fakes is made for."""
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
    http.daemon_threads = False  # `server_close` waits for them: their sockets are closed then
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


@cache
def _made(now: datetime) -> Path:
    """Keys and both repositories with one tail, once a process; tests copy them."""
    made = tempfile.TemporaryDirectory(prefix="tailtwin-shop-")
    _KEPT.append(made)
    folder = Path(made.name)
    keys = KeyFolder(folder / "keys")
    repositories = Repositories(folder / "repo", now)
    repositories.create(keys)
    repositories.director.add_tail(keys, TAIL)
    return folder


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


class Shop:
    """Signs what the tests need, at a time they choose. folder: what a source has."""

    def __init__(self, folder: Path, now: datetime = NOW) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("repo", "keys"):
            shutil.copytree(_made(now) / name, folder / name)
        self.folder, self.keys = folder / "repo", KeyFolder(folder / "keys")
        self.assigned: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def at(self, now: datetime) -> Repositories:
        return Repositories(self.folder, now)

    def publish(
        self,
        release: int,
        who: Applicability = FITS,
        now: datetime = NOW,
        name: str = "egt",
        content: bytes | None = None,
        role: str = "targets",
        parent: str = "",
    ) -> str:
        """A bundle into the image repository; for `calibration` one of this tail."""
        file = self.folder.parent / f"{name}-{release}.0.0.tar.zst"
        file.write_bytes(content or f"{name} release {release} ".encode() * 50)
        tail = TAIL if role == "calibration" else ""
        bundle = Declared(
            file=file, data=file.read_bytes(), name=name, release=release, applicability=who,
            parent=parent, tail=tail,
        )  # fmt: skip
        self.at(now).image.publish(self.keys, [bundle], role)
        return f"cal/{tail}/{name}/{file.name}" if tail else f"{name}/{file.name}"

    def model(self, release: int = 1, data: bytes = b"") -> bytes:
        """A real bundle for MODEL_AIRCRAFT, attested by this shop's attestor."""
        return attest(data or packed(release)[1], CLAIMS, [self.keys.load("attestor-1")])[1]

    def assign(
        self, *targets: str, now: datetime = NOW, tail: str = TAIL, rollback_of: str = ""
    ) -> None:
        """The whole set of the tail."""
        at = self.at(now)
        at.director.assign(self.keys, tail, list(targets), at.image, rollback_of)

    def offer(self, release: int, now: datetime = NOW, **more: object) -> str:
        """Publish a bundle, and assign it in the place of its namesake."""
        target = self.publish(release, now=now, **more)  # type: ignore[arg-type]
        self.assigned[target.split("/")[-2]] = target
        self.assign(*self.assigned.values(), now=now)
        return target

    def refresh(self, now: datetime) -> None:
        at = self.at(now)
        at.image.refresh(self.keys)
        at.director.refresh(self.keys)

    def metadata(self, name: str, repository: str = "image") -> Path:
        return self.folder / repository / "metadata" / name

    def roots(self) -> tuple[bytes, bytes]:
        return (
            self.metadata("1.root.json").read_bytes(),
            self.metadata("1.root.json", "director").read_bytes(),
        )


def clock_at(now: datetime = NOW) -> ManualClock:
    return ManualClock(0, int(now.timestamp()) * 1_000_000_000)


class RealMono(ManualClock):
    """A wall clock that a test sets, and the machine's own monotonic one: sockets need it."""

    def mono_ns(self) -> int:
        return time.monotonic_ns()


def unjudged(wanted: Wanted, data: bytes, parent: bytes, root: Root, request: FetchRequest) -> None:
    """In the place of `check_contents`, for bundles that are none inside."""


class Aboard:
    """One aircraft's trust, with release 1 live."""

    def __init__(self, folder: Path, shop: Shop, *sources: str) -> None:
        self.state = folder / "state"
        self.trust = self.state / "tuf"
        self.sources: Sequence[str] = sources or (shop.url,)
        self.clock = RealMono(0, clock_at().wall_ns())
        self.aircraft, self.deadline_s, self.judges = AIRCRAFT, 5.0, False
        provision(self.trust, *shop.roots())
        self.slots = Slots(self.state)
        shop.offer(1)
        first = self.taken()
        self.slots.install_first(first.bundles)
        for bundle in first.bundles:
            bundle.file.unlink()

    def copied(self, folder: Path) -> Aboard:
        """The same aircraft as it is now, with a state of its own."""
        twin = copy.copy(self)
        twin.state = folder / "state"
        twin.trust = twin.state / "tuf"
        shutil.copytree(self.state, twin.state)
        twin.slots, twin.clock = Slots(twin.state), RealMono(0, self.clock.wall_ns())
        return twin

    def fetch(self, target: str = "", **changes: object) -> FetchAnswer:
        view = self.slots.view()
        request = FetchRequest(
            folder=str(self.trust), sources=tuple(self.sources), target=target,
            aircraft=self.aircraft, releases=view.releases, held=view.held, attestation=POLICY,
            deadline_s=self.deadline_s, staging_may_be_memory=True,
        )  # fmt: skip
        contents = check_contents if self.judges else unjudged
        return fetch_set(msgspec.structs.replace(request, **changes), self.clock, contents=contents)

    def taken(self, target: str = "", **changes: object) -> VerifiedSet:
        answer = self.fetch(target, **changes)
        assert isinstance(answer, VerifiedSet), answer
        return answer

    def refused(self, target: str = "", **changes: object) -> FetchFailure:
        """Why not; nothing unverified lies under a final name."""
        before = set((self.trust / "targets").iterdir())
        answer = self.fetch(target, **changes)
        assert isinstance(answer, FetchFailure), answer
        assert "to do: " in answer.text
        new = set((self.trust / "targets").iterdir()) - before
        assert not [p for p in new if p.suffix == ".zst"]
        return answer


async def settle(client: object, done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Run the client until `done`, then stop it."""
    task = asyncio.create_task(client.run())  # type: ignore[attr-defined]
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
