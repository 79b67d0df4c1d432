"""How the ground serves updates: what lies in the repositories, to the tail that asks, in turn."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client
from nats.aio.msg import Msg
from tuf.api.exceptions import DownloadError

from edge.update.fetch import BoundedFetcher
from edge.update.sources import open_source
from ground.api.server import serve
from ground.config import HttpConfig, check_config, load_config
from ground.rollout.serve import WAITING_MAX, UpdateResponder
from ground.supervise import is_ready
from ground.twins.control import Control
from shared.chunks import CHUNK_BYTES_MAX, Chunk, ChunkRequest
from shared.clock import SystemClock
from shared.errors import ConfigError
from shared.messages import decode, encode
from shared.topics import subject
from tests.contract.ground_site import Site
from tests.contract.update_places import Authority
from tests.unit.ground.synthetic import OPERATOR, TAIL, Tail, wait_for

OTHER = "A320-00007"
UPDATE, OTHERS = subject(OPERATOR, TAIL, "update"), subject(OPERATOR, OTHER, "update")
OWN_INBOX = subject(OPERATOR, TAIL, "inbox")
BIG = os.urandom(300_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    one = Site(tmp_path_factory.mktemp("site"))
    one.enrol(Tail())
    one.enrol(Tail(tail=OTHER))
    one.start_broker()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def repo(site: Site) -> Path:
    folder = site.folder / "repo"
    for path, data in {
        "image/metadata/timestamp.json": b"{}", "director/metadata/1.root.json": b"root",
        "image/targets/egt/big.tar.zst": BIG, "time/N1.json": b"reset", "drafts/2.root.json": b"draft",
        "image/secret.json": b"secret", "director/targets/x": b"x", "image/metadata/.keep": b"",
    }.items():  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "image/metadata/link.json").symlink_to(folder / "image/secret.json")
    (folder / "image/targets/out").symlink_to(site.folder)
    os.mkfifo(folder / "image/metadata/fifo.json")
    return folder


class Serving:
    """The responder, as the api runs it, and a client of one tail."""

    def __init__(self, site: Site, repo: Path) -> None:
        self._site, self._repo = site, repo
        self.errors: list[str] = []

    async def __aenter__(self) -> Serving:
        password = Control.open(self._site.paths.control).password("api")
        self.api = await self._site.join("api", password, self.errors)
        self.responder = UpdateResponder(self.api, OPERATOR, self._repo)
        self._task = asyncio.create_task(self.responder.run())
        await asyncio.sleep(0)
        await self.api.flush()
        self.tail = await self._site.join(TAIL, errors=self.errors)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.api.close()
        await self.tail.close()

    async def ask(self, request: ChunkRequest | bytes) -> Chunk:
        inbox = f"{OWN_INBOX}.{os.urandom(4).hex()}"
        got: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await self.tail.subscribe(inbox, cb=got.put)
        data = request if isinstance(request, bytes) else encode(request)
        await self.tail.publish(UPDATE, data, reply=inbox)
        message = await asyncio.wait_for(got.get(), 5)
        await subscription.unsubscribe()
        return decode(Chunk, message.data, "chunk", 1 << 20)


def test_only_what_the_repositories_publish_is_read(site: Site, repo: Path) -> None:
    async def run() -> None:
        async with Serving(site, repo) as serving:
            chunk = await serving.ask(ChunkRequest(1, "director/metadata/1.root.json", 0, 100))
            assert (chunk.status, chunk.total, chunk.data) == ("ok", 4, b"root")
            assert (await serving.ask(ChunkRequest(1, "time/N1.json", 0, 9))).data == b"reset"
            for path in (
                "drafts/2.root.json", "image/secret.json", "director/targets/x", "image/metadata",
                "image/metadata/", "image/metadata/.keep", "image/metadata/link.json",
                "image/metadata/fifo.json", "image/targets/out/ground.toml",
                "image/metadata/../secret.json", "image/metadata/../../drafts/2.root.json",
                "/etc/hostname", "", "image/metadata/none.json", "image/metadata/a\0b",
                "image/targets/" + "x" * 400, "image/targets/" + "a/" * 30 + "b",
            ):  # fmt: skip
                answer = await serving.ask(ChunkRequest(1, path, 0, 100))
                assert answer.status in ("absent", "refused"), path
                assert answer.data == b""

    asyncio.run(run())


def test_a_piece_is_bounded_and_begins_where_it_was_asked_for(site: Site, repo: Path) -> None:
    path = "image/targets/egt/big.tar.zst"

    async def run() -> None:
        async with Serving(site, repo) as serving:
            got = await serving.ask(ChunkRequest(1, path, 1000, CHUNK_BYTES_MAX))
            assert got.data == BIG[1000 : 1000 + CHUNK_BYTES_MAX]
            assert (await serving.ask(ChunkRequest(1, path, len(BIG) + 5, 10))).data == b""
            for request in (
                ChunkRequest(1, path, 0, CHUNK_BYTES_MAX + 1), ChunkRequest(1, path, 0, 0),
                ChunkRequest(2, path, 0, 10), b"", b"\xff" * 50, b"x" * 5000,
            ):  # fmt: skip
                assert (await serving.ask(request)).status == "refused"

    asyncio.run(run())


def test_a_tail_asks_on_its_own_subject_and_hears_its_own_inbox_only(
    site: Site, repo: Path
) -> None:
    asyncio.run(_foreign(site, repo))


async def _foreign(site: Site, repo: Path) -> None:
    async with Serving(site, repo) as serving:
        heard: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        other = await site.join(OTHER, errors=serving.errors)
        await other.subscribe(f"{OTHERS.removesuffix('.update')}.inbox.>", cb=hear)
        for name in (f"{OWN_INBOX}.>", f"{OWN_INBOX}.x", UPDATE, OTHERS, "_INBOX.>"):
            await other.subscribe(name, cb=hear)
        await other.flush()
        await wait_for(lambda: len(serving.errors) == 5)
        await other.publish(UPDATE, b"x", reply=f"{OWN_INBOX}.x")
        await other.publish(f"{OWN_INBOX}.x", b"a forged piece")
        await other.flush()
        await wait_for(lambda: len(serving.errors) == 7)
        assert all("permissions violation" in error.lower() for error in serving.errors)
        assert (await serving.ask(ChunkRequest(1, "image/metadata/timestamp.json", 0, 9))).data
        assert heard == []
        await other.close()


@pytest.mark.parametrize("reply", [
    f"aero.v1.{OPERATOR}.{OTHER}.inbox.x", f"aero.v1.{OPERATOR}.{TAIL}.ack",
    f"aero.v1.{OPERATOR}.{OTHER}.notice", f"aero.v1.{OPERATOR}.{TAIL}.notice", "",
    f"ground.v1.{OPERATOR}.ingest", f"{OWN_INBOX}.*", f"{OWN_INBOX}.>", OWN_INBOX, f"{OWN_INBOX}.",
    f"{OWN_INBOX}.x.{'y' * 40}", f"aero.v1.other.{TAIL}.inbox.x",
])  # fmt: skip
def test_no_tail_has_the_ground_publish_where_it_may_not_itself(
    site: Site, repo: Path, reply: str
) -> None:
    """The api may publish notices; a request that names one as its inbox must not make one."""
    sent: list[str] = []

    class Api:
        async def publish(self, name: str, data: bytes) -> None:
            sent.append(name)

    async def run(api: Client) -> None:
        responder = UpdateResponder(api, OPERATOR, repo)
        request = encode(ChunkRequest(1, "image/metadata/timestamp.json", 0, 9))
        for name in (reply, f"{OWN_INBOX}.mine"):
            await responder._take(Msg(api, UPDATE, name, request))
        for messages in list(responder._waiting.values()):
            for message in messages:
                await responder._answer(TAIL, message)

    asyncio.run(run(Api()))  # type: ignore[arg-type]
    assert sent == [f"{OWN_INBOX}.mine"]


def test_a_tail_that_floods_waits_and_another_one_does_not(site: Site, repo: Path) -> None:
    async def run() -> None:
        async with Serving(site, repo) as serving:
            request = encode(ChunkRequest(1, "image/targets/egt/big.tar.zst", 0, CHUNK_BYTES_MAX))
            for _ in range(300):
                await serving.tail.publish(UPDATE, request, reply=f"{OWN_INBOX}.flood")
            await serving.tail.flush()
            await wait_for(lambda: serving.responder.answers["busy"] > 0)
            other = await site.join(OTHER)
            begun_s = time.monotonic()
            inbox = f"{OTHERS.removesuffix('.update')}.inbox.a"
            got: asyncio.Queue[Msg] = asyncio.Queue()
            await other.subscribe(inbox, cb=got.put)
            await other.publish(OTHERS, request, reply=inbox)
            answer = decode(Chunk, (await asyncio.wait_for(got.get(), 5)).data, "chunk", 1 << 20)
            assert answer.status == "ok" and time.monotonic() - begun_s < 3
            await other.close()
            served = serving.responder.answers
            await wait_for(lambda: sum(served.values()) == 301)
            assert WAITING_MAX <= served["ok"] < 301

    asyncio.run(run())


def test_the_tails_take_turns(repo: Path) -> None:
    async def run() -> None:
        responder = UpdateResponder(None, OPERATOR, repo)  # type: ignore[arg-type]
        for tail in ("A", "A", "A", "B", "C", "B"):
            name = subject(OPERATOR, tail, "update")
            reply = subject(OPERATOR, tail, "inbox") + ".x"
            await responder._take(Msg(None, name, reply, b""))  # type: ignore[arg-type]
        assert "".join(responder._next()[0] for _ in range(6)) == "ABCABA"
        assert not responder._some.is_set()

    asyncio.run(run())


def test_the_api_process_serves_a_session_over_https_and_over_nats(site: Site, repo: Path) -> None:
    authority = Authority(site.folder)
    settings = site.paths.config.read_text()
    site.paths.config.write_text(
        f'{settings}tls_cert = "{authority.chain}"\ntls_key = "{authority.chain}"\n'
    )
    config = load_config(site.paths)
    site.start("ingest")
    site.spawn(sys.executable, "-m", "ground", "api", "--state", str(site.paths.state),
               "--tuf-repo", str(repo))  # fmt: skip
    at = f"{config.host}:{config.nats.port}"
    for text in (
        f"https://127.0.0.1:{config.http.port}/tuf",
        f"nats://{TAIL}:{site.passwords[TAIL]}@{at}/aero.v1.{OPERATOR}.{TAIL}",
    ):
        source = open_source(text, authority.file)
        fetcher = BoundedFetcher(source, SystemClock(), 30.0, 10.0, 1 << 20)
        deadline_s = time.monotonic() + 20
        while True:
            try:
                assert fetcher.download_bytes("director/metadata/1.root.json", 100) == b"root"
                break
            except DownloadError:
                assert time.monotonic() < deadline_s, "nobody serves"
                time.sleep(0.05)
        assert fetcher.download_bytes("image/targets/egt/big.tar.zst", len(BIG)) == BIG
        assert b"".join(source.read("image/targets/egt/big.tar.zst", 200_001)) == BIG[200_001:]
        for path in ("drafts/2.root.json", "image/secret.json", "image/metadata/link.json"):
            with pytest.raises(DownloadError):
                fetcher.download_bytes(path, 100)
        source.close()
    while not (ready := is_ready(config))[0]:
        assert time.monotonic() < deadline_s, ready
        time.sleep(0.05)


def test_a_certificate_or_key_that_is_not_usable_is_said_at_start(
    site: Site, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    locked = tmp_path / "locked.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )  # fmt: skip
    for cert, private in (
        (tmp_path / "none.pem", authority.chain), (authority.chain, locked),
        (authority.file, authority.chain),
    ):  # fmt: skip
        http = HttpConfig(port=1, tls_cert=str(cert), tls_key=str(private))
        with pytest.raises(ConfigError, match="not usable"):
            serve(site.paths, msgspec.structs.replace(site.config, http=http), None)
    half = msgspec.structs.replace(site.config, http=HttpConfig(port=1, tls_cert="x"))
    with pytest.raises(ConfigError, match="one without the other"):
        check_config(half, "ground.toml")
