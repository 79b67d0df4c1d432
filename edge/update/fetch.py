"""The bytes of an update, fetched over HTTP for python-tuf: unverified, bounded, on a deadline.

In: a URL below the repository. Out: chunks of its body.
Always holds: one deadline and one byte budget cover everything a session fetches, headers and a
peer that drips included; no redirect, no proxy, no retry, no compressed body is followed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from shared.clock import Clock

CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0  # assumption: the stand's link answers or is not there


class DeadlineFetcher(FetcherInterface):
    """Plain GETs until `deadline_s` from now, or until `bytes_max` have come in all."""

    def __init__(self, clock: Clock, deadline_s: float, bytes_max: int) -> None:
        self._clock = clock
        self._end_ns = clock.mono_ns() + round(deadline_s * 1e9)
        self._bytes_left = bytes_max

    def left_s(self) -> float:
        return (self._end_ns - self._clock.mono_ns()) / 1e9

    def _fetch(self, url: str) -> Iterator[bytes]:
        if self.left_s() <= 0:
            raise SlowRetrievalError("the deadline of this session has passed")
        parts = urlsplit(url)
        connection = _connection(parts.scheme, parts.netloc, min(CONNECT_TIMEOUT_S, self.left_s()))
        return self._stream(connection, parts.path)

    def _stream(self, connection: http.client.HTTPConnection, path: str) -> Iterator[bytes]:
        """Connect and read. A timer shuts the socket at the deadline, whatever a read waits for:
        a gap timeout alone never ends a peer that sends a byte at a time."""
        try:
            connection.connect()
            cutter = threading.Timer(max(0.0, self.left_s()), _shut, (connection.sock,))
            cutter.daemon = True
            cutter.start()
            try:
                yield from self._body(connection, path)
            finally:
                cutter.cancel()
        except (OSError, http.client.HTTPException) as error:
            if self.left_s() <= 0 or isinstance(error, TimeoutError):
                raise SlowRetrievalError(f"no whole answer in time: {path}") from error
            raise DownloadError(f"{type(error).__name__} for {path}: {error}") from error
        finally:
            connection.close()

    def _body(self, connection: http.client.HTTPConnection, path: str) -> Iterator[bytes]:
        connection.request("GET", path, headers={"Accept-Encoding": "identity"})
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise DownloadHTTPError(f"HTTP status {response.status}", response.status)
        declared = response.length
        received = 0
        while chunk := response.read1(CHUNK_BYTES):
            received += len(chunk)
            self._bytes_left -= len(chunk)
            if self._bytes_left < 0:
                raise DownloadError("this session may fetch no more bytes")
            yield chunk
        if self.left_s() <= 0:
            raise SlowRetrievalError(f"no whole answer in time: {path}")
        if declared is not None and received < declared:
            raise DownloadError(f"the answer ended after {received} of {declared} bytes")


def _connection(scheme: str, netloc: str, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=timeout_s)
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(netloc, timeout=timeout_s, context=context)
    raise DownloadError(f"{scheme!r} is neither http nor https")


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already, which is what we want
