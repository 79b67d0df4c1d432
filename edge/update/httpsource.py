"""Update bytes over HTTP or HTTPS.

In: a base URL and paths below it. Out: bodies, from an offset where the server can.
Always holds: one connection, kept alive; no redirect, no proxy, no compressed body is followed;
`cut` ends name look-up, connect, TLS and reading alike; a connection whose answer was not read
to its end is not used again.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from edge.update.sources import CHUNK_BYTES, GAP_S, NoRange
from shared.errors import ConfigError

PATH_SAFE = "/%:@!$&'()*+,;=~"  # RFC 3986 path characters; what is escaped stays as it is
CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)\Z")
PORTS = {"http": 80, "https": 443}


class HttpSource:
    """GETs below one base URL."""

    def __init__(self, url: str, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if (
            parts.scheme not in PORTS
            or not parts.hostname
            or port == 0
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ConfigError(
                "not a base URL", "update.sources", "https://host[:port]/path, without a password"
            )
        self._host, self._port = parts.hostname, port or PORTS[parts.scheme]
        self._netloc = parts.netloc
        self._base = parts.path.rstrip("/")
        self._context = _context(ca_file) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()  # of the two below, which `cut` reads
        self._socket: socket.socket | None = None
        self._is_cut = threading.Event()
        self.name = f"{parts.scheme}://{parts.netloc}{self._base}"

    def read(self, path: str, offset: int = 0) -> Generator[bytes, None, None]:
        self._is_cut.clear()
        whole, response = False, None
        try:
            response = self._ask(quote(f"{self._base}/{path.lstrip('/')}", PATH_SAFE), offset)
            yield from _body(response, path, offset)
            whole = not response.will_close
        except TimeoutError as error:
            raise SlowRetrievalError(f"no answer in {GAP_S:g} s: {path}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(f"{type(error).__name__} for {path}: {error}") from error
        finally:
            if response is not None:
                response.close()  # it holds the socket open as well
            if not whole:
                self.close()

    def cut(self) -> None:
        with self._lock:
            self._is_cut.set()
            if self._socket is not None:
                _shut(self._socket)

    def close(self) -> None:
        with self._lock:
            held, self._socket = self._socket, None
        if held is not None:
            held.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, path: str, offset: int) -> http.client.HTTPResponse:
        """Once more on a new connection when a kept one has gone meanwhile."""
        if self._connection is not None:
            try:
                return _request(self._connection, path, offset)
            except (ConnectionError, http.client.BadStatusLine):
                self.close()
        self._connection = self._connect()
        return _request(self._connection, path, offset)

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._netloc, timeout=GAP_S)
        connection.auto_open = 0
        last: OSError = OSError("no address")
        for family, kind, protocol, _, address in self._look_up():
            sock = socket.socket(family, kind, protocol)
            self._hold(sock)
            sock.settimeout(GAP_S)
            try:
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                last = error
                self.close()
                if self._is_cut.is_set():
                    break
                continue
            if self._context is not None:
                sock = self._context.wrap_socket(
                    sock, server_hostname=self._host, do_handshake_on_connect=False
                )
                self._hold(sock)
                sock.do_handshake()
            connection.sock = sock
            return connection
        raise last

    def _hold(self, sock: socket.socket) -> None:
        """From here on `cut` ends what waits on it; at once when there was one already."""
        with self._lock:
            self._socket = sock
            if self._is_cut.is_set():
                _shut(sock)
                raise TimeoutError

    def _look_up(self) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Addresses of the host. The system's look-up cannot be ended, so nobody waits for it."""
        found: list[tuple[int, int, int, str, tuple[str, int]]] = []
        failed: list[OSError] = []

        def ask() -> None:
            try:
                found.extend(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))  # type: ignore[arg-type]
            except OSError as error:
                failed.append(error)
            finally:
                done.set()

        done = threading.Event()
        threading.Thread(target=ask, daemon=True).start()
        for _ in range(round(GAP_S / 0.05)):
            if done.wait(0.05) or self._is_cut.is_set():
                break
        if failed:
            raise failed[0]
        if not done.is_set():
            raise TimeoutError
        return found


def _request(
    connection: http.client.HTTPConnection, path: str, offset: int
) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def _body(
    response: http.client.HTTPResponse, path: str, offset: int
) -> Generator[bytes, None, None]:
    _check(response, path, offset)
    left = response.length  # None: until the last chunk, or until the connection ends
    while left is None or left > 0:
        chunk = response.read1(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
        if not chunk:
            break
        if left is not None:
            left -= len(chunk)
        yield chunk
    if left:
        raise DownloadError(f"the answer for {path} ended {left} bytes early")


def _check(response: http.client.HTTPResponse, path: str, offset: int) -> None:
    status = response.status
    if offset and status in (http.HTTPStatus.OK, http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        raise NoRange(f"the server does not go on from byte {offset} of {path}")
    if offset and status == http.HTTPStatus.PARTIAL_CONTENT:
        found = CONTENT_RANGE.match(response.getheader("Content-Range", ""))
        if found is None or int(found[1]) != offset:
            raise NoRange(f"the server gave another part of {path} than asked for")
    elif status != http.HTTPStatus.OK:
        raise DownloadHTTPError(f"HTTP status {status} for {path}", status)
    if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
        raise DownloadError(f"a compressed answer for {path}, which nobody asked for")


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"no certificates: {error}", str(ca_file), "a PEM file of the authority that signs"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _shut(sock: socket.socket) -> None:
    """Not `SSLSocket.shutdown`: that takes TLS off, and a read in the other thread goes on raw."""
    with suppress(OSError):  # it is closed already, which is what we want
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
