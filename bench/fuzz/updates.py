"""Targets: what a source of updates answers, and what a tail asks of the ground."""

from __future__ import annotations

import http.client
import socket
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from tuf.api.exceptions import DownloadError

from edge.update.httpsource import HttpSource
from ground.rollout.serve import piece
from shared import messages
from shared.chunks import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, Chunk, ChunkRequest
from shared.errors import Rejected

WHERE = "fuzz"
OFFSET = 5
SOCKET_BYTES_MAX = 60_000  # what a pair of sockets holds with nobody reading


class _OneAnswer(HttpSource):
    """Connected to somebody who has said already all that they will say."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("http://fuzz/")
        self.other, self._mine = socket.socketpair()
        self.other.sendall(answer[:SOCKET_BYTES_MAX])
        self.other.shutdown(socket.SHUT_WR)

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("fuzz")
        self._hold(self._mine)
        connection.sock = self._mine
        return connection


def http_answer(data: bytes) -> object:
    """As the answer to a request for a whole file, then to one from an offset on."""
    return tuple(_answer(data, offset) for offset in (0, OFFSET))


def _answer(data: bytes, offset: int) -> str:
    with closing(_OneAnswer(data)) as source, source.other:
        try:
            return str(sum(map(len, source.read("x", offset))) > 0)
        except DownloadError as error:
            return type(error).__name__


def http_answers() -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
    return [
        head,
        head.replace(b"200 OK", b"206 Partial Content\r\nContent-Range: bytes 5-14/15"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + head,
        b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b",
    ]


def chunk(data: bytes) -> object:
    return messages.decode(Chunk, data, WHERE, ANSWER_BYTES_MAX)


def chunks() -> list[bytes]:
    return [messages.encode(Chunk(1, "ok", 10, "1-2", b"0123")), messages.encode(Chunk(1, "busy"))]


def request(data: bytes) -> object:
    """To the repository's files: a piece, or nothing of what lies beside them."""
    asked = messages.decode(ChunkRequest, data, WHERE, REQUEST_BYTES_MAX)
    try:
        found = piece(_repo(), asked)
    except OSError as error:
        raise Rejected(str(error.strerror), WHERE) from None
    assert b"secret" not in found.data
    return found.status


def requests() -> list[bytes]:
    return [
        messages.encode(ChunkRequest(1, path, 0, 100))
        for path in ("image/metadata/1.root.json", "image/targets/egt/x.tar.zst", "secret")
    ]


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tailtwin-fuzz-")


@cache
def _repo() -> Path:
    folder = Path(_kept().name)
    for path, text in (("image/metadata/1.root.json", "root"), ("image/targets/egt/x.tar.zst", "x"),
                       ("secret", "secret"), ("drafts/1.root.json", "secret")):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder
