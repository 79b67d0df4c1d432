"""Places that update bytes come from, honest or not: HTTP, HTTPS, a real NATS broker, a folder.

`behave` says what a place does with the next reads; `Behaviour` lists it. Every place is really
there: sockets, TLS with an authority made here, nats-server with the ground's own permissions.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import itertools
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.update.sources import Source, open_source
from ground.broker import connect
from ground.rollout.serve import UpdateResponder
from ground.twins.control import Control
from shared.chunks import Chunk, ChunkRequest
from tests.contract.ground_site import Site
from tests.unit.ground.synthetic import OPERATOR, TAIL

Behaviour = Literal[
    "honest", "cut", "shorter", "longer", "other_bytes", "drip", "silence", "endless", "garbage",
    "no_range", "wrong_range", "redirect", "compressed", "drip_head", "endless_head", "continue",
    "busy", "changes", "empty",
]  # fmt: skip
EXTRA = 7
DRIP_S = 0.03


class Place:
    """Files by path, and what happens to whoever reads them."""

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self.how: Behaviour = "honest"
        self.cut_at = 0
        self.reads: list[tuple[str, int]] = []
        """(path, offset) in the order in which they were asked for; not of a folder."""

    def put(self, path: str, data: bytes) -> None:
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def behave(self, how: Behaviour, cut_at: int = 0) -> None:
        self.how, self.cut_at = how, cut_at

    def open(self) -> Source:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def _file(self, path: str) -> bytes | None:
        """What this place has at `path`, as it behaves."""
        file = self.repo / path
        if not file.is_file():
            return None
        data = file.read_bytes()
        if self.how == "shorter":
            return data[:-EXTRA]
        if self.how == "longer":
            return data + bytes(EXTRA)
        return bytes(byte ^ 1 for byte in data) if self.how == "other_bytes" else data


class HttpPlace(Place):
    """A server on raw sockets, so that it can say anything. kept: answers on kept connections."""

    def __init__(self, repo: Path, tls: Authority | None = None) -> None:
        super().__init__(repo)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/tuf"

    def open(self) -> Source:
        return open_source(self.url, self._tls.file if self._tls else None)

    def hang_up(self) -> None:
        """As a server does to connections that were kept for long."""
        for sock in self._open:
            _hang_up(sock)

    def close(self) -> None:
        self._stopped.set()
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.append(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.server.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            with sock, sock.makefile("rb") as lines:
                while request := _request(lines):
                    self.reads.append(request)
                    if not self._answer(sock, *request):
                        return
        except (OSError, ValueError):
            pass

    def _answer(self, sock: socket.socket, path: str, offset: int) -> bool:
        """Whether the connection goes on."""
        data, how = self._file(unquote(path)), self.how
        if how == "silence":
            self._stopped.wait(20)
        elif how == "garbage":
            sock.sendall(os.urandom(1024) + b"\r\n\r\n")
        elif how == "redirect":
            _head(sock, "302 Found", 0, f"Location: http://127.0.0.1:{self.port}/tuf/elsewhere")
        elif how in ("drip_head", "endless_head", "continue"):
            self._drip(sock, b"HTTP/1.1 200 OK\r\n", _heads(how))
        elif how == "endless":
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not self._stopped.is_set():
                sock.sendall(bytes(65536))
        elif data is None:
            _head(sock, "404 Not Found", 0)
            return True
        else:
            return self._body(sock, data, offset)
        return False

    def _body(self, sock: socket.socket, data: bytes, offset: int) -> bool:
        how, extra = self.how, ""
        if how == "no_range":
            offset = 0
        if offset >= len(data) > 0 and offset:
            _head(sock, "416 Range Not Satisfiable", 0)
            return True
        if offset:
            said = offset + (how == "wrong_range")
            extra = f"Content-Range: bytes {said}-{len(data) - 1}/{len(data)}"
        if how == "compressed":
            extra = "Content-Encoding: gzip"
        _head(sock, "206 Partial Content" if offset else "200 OK", len(data) - offset, extra)
        if how == "cut":
            sock.sendall(data[offset : max(offset, self.cut_at)])
        elif how == "drip":
            self._drip(sock, b"", (data[k : k + 1] for k in range(offset, len(data))))
        else:
            sock.sendall(data[offset:])
            return True
        return False

    def _drip(self, sock: socket.socket, first: bytes, rest: Iterator[bytes]) -> None:
        sock.sendall(first)
        for piece in rest:
            sock.sendall(piece)
            if self._stopped.wait(DRIP_S):
                return


def _request(lines: Any) -> tuple[str, int] | None:
    first = lines.readline().split()
    if len(first) < 3:
        return None
    offset = 0
    while (line := lines.readline().strip()) != b"":
        if found := re.match(rb"(?i)range: bytes=(\d+)-$", line):
            offset = int(found[1])
    return first[1].decode().removeprefix("/tuf/"), offset


def _head(sock: socket.socket, status: str, length: int, extra: str = "") -> None:
    more = f"{extra}\r\n" if extra else ""
    sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode())


def _heads(how: Behaviour) -> Iterator[bytes]:
    if how == "drip_head":
        return (b"x" for _ in itertools.count())
    if how == "continue":
        return (b"\r\nHTTP/1.1 100 Continue\r\n" for _ in itertools.count())
    return (b"X-%d: y\r\n" % k * 10 for k in itertools.count())


def _hang_up(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass


class Authority:
    """Signs one certificate, for 127.0.0.1. file: what clients trust."""

    def __init__(self, folder: Path) -> None:
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("test authority")
        ca = _certificate(name, name, key, key, True)
        own = ec.generate_private_key(ec.SECP256R1())
        leaf = _certificate(_name("127.0.0.1"), name, own, key, False)
        pem = serialization.Encoding.PEM
        self.file = folder / "ca.pem"
        self.file.write_bytes(ca.public_bytes(pem))
        self.chain = folder / "server.pem"
        self.chain.write_bytes(
            own.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + leaf.public_bytes(pem)
        )  # fmt: skip
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.chain)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _certificate(
    who: x509.Name, by: x509.Name, key: Any, signing_key: Any, is_authority: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(by, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_authority, None), True)
    )
    if not is_authority:
        address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
        made = made.add_extension(x509.SubjectAlternativeName([address]), False)
    return made.sign(signing_key, hashes.SHA256())


class NatsPlace(Place):
    """nats-server as the ground sets it up, and the ground's responder while it is honest."""

    def __init__(self, site: Site, repo: Path) -> None:
        super().__init__(repo)
        self._site = site
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client: Client = self.run(self._join())
        self._responder: asyncio.Task[None] | None = None
        self.run(self._begin())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def url(self, tail: str = TAIL, user: str = TAIL) -> str:
        at = f"{self._site.config.host}:{self._site.config.nats.port}"
        return f"nats://{user}:{self._site.passwords[user]}@{at}/aero.v1.{OPERATOR}.{tail}"

    def open(self) -> Source:
        return open_source(self.url())

    def close(self) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _join(self) -> Client:
        password = Control.open(self._site.paths.control).password("api")
        return await connect(self._site.config, "api", password, patient=False)

    async def _begin(self) -> None:
        self._honest = UpdateResponder(self._client, OPERATOR, self.repo)
        self._honest._take, inner = self._take, self._honest._take  # type: ignore[method-assign]
        self._inner = inner
        self._responder = asyncio.create_task(self._honest.run())
        await self._client.flush()

    async def _end(self) -> None:
        if self._responder is not None:
            self._responder.cancel()
            await asyncio.gather(self._responder, return_exceptions=True)
        await self._client.close()

    async def _take(self, message: Msg) -> None:
        request = msgspec.msgpack.decode(message.data, type=ChunkRequest)
        self.reads.append((request.path, request.offset))
        if self.how == "honest":
            await self._inner(message)
        elif (answer := await self._crooked(request)) is not None:
            await message.respond(answer)

    async def _crooked(self, request: ChunkRequest) -> bytes | None:
        data, how, offset = self._file(request.path) or b"", self.how, request.offset
        total, tag, piece = len(data), "t", data[offset : offset + request.length]
        if how == "silence":
            return None
        if how == "garbage":
            return os.urandom(64)
        if how == "busy":
            return msgspec.msgpack.encode(Chunk(1, "busy"))
        if how == "drip":
            await asyncio.sleep(DRIP_S)
            piece = piece[:1]
        elif how == "endless":
            total, piece = 1 << 40, bytes(request.length)
        elif how == "cut":
            if offset >= self.cut_at:
                return None
            piece = piece[: self.cut_at - offset]
        elif how == "changes":
            piece, tag = piece[:10], f"t{offset}"
        elif how == "empty":
            piece = b""
        return msgspec.msgpack.encode(Chunk(1, "ok", total, tag, piece))


class MediaPlace(Place):
    """A folder. What a folder cannot do by itself, a file in its place stands for."""

    def open(self) -> Source:
        return open_source(f"file://{self.repo}")

    def behave(self, how: Behaviour, cut_at: int = 0) -> None:
        super().behave(how, cut_at)
        for file in [one for one in self.repo.rglob("*") if one.is_file()]:
            path = file.relative_to(self.repo).as_posix()
            data = self._file(path)
            assert data is not None
            if how == "cut":
                file.write_bytes(data[:cut_at])
            elif how == "silence":
                file.unlink()
                os.mkfifo(file)
            elif how == "endless":
                file.unlink()
                file.symlink_to("/dev/zero")
            else:
                file.write_bytes(data)


class Unanswered:
    """A port where nobody accepts. full: with its row of waiting full, so that a connect hangs;
    else it succeeds and nothing follows."""

    def __init__(self, full: bool) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0 if full else 8)
        self.port: int = self._listener.getsockname()[1]
        self._waiting = [socket.socket() for _ in range(4 if full else 0)]
        for sock in self._waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
        time.sleep(0.05)

    def close(self) -> None:
        for sock in (*self._waiting, self._listener):
            sock.close()
