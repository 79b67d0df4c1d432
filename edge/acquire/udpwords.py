"""ARINC 429 words from a card or gateway that sends them by UDP.

In: datagrams on one port, as docs/sources.md lays them out. Out: readings.
Always holds: a drain reads whole datagrams into one buffer and works on all of them as one array;
what is no datagram of ours is counted; datagrams that were lost are counted by their sequence
numbers and show as a jump of the counters of every group.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from edge.acquire.arinc429 import WORD, WordDecoder, Words
from edge.acquire.reading import Readings
from shared.errors import Unreachable
from shared.signals import SignalSet

HEAD: Final = np.dtype(
    [("magic", "S4"), ("version", "u1"), ("spare", "u1"), ("count", "<u2"), ("sequence", "<u4"),
     ("spare2", "<u4")]
)  # fmt: skip
MAGIC: Final = b"T429"
UNIT: Final = 16  # bytes of a head and of a word
DATAGRAM_BYTES_MAX: Final = 65_536
BUFFER_BYTES: Final = 1 << 20
RECEIVE_BUFFER_BYTES: Final = 4 << 20  # of the socket: 10 s of 20 buses at 100 kbit/s
assert HEAD.itemsize == WORD.itemsize == UNIT


class UdpWordSource:
    """Implements edge.acquire.source.Source. channels: number -> `bus` of the signal set."""

    def __init__(
        self, host: str, port: int, channels: Mapping[int, str], signals: SignalSet,
        has_parity: bool = True, mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self._host, self._port, self._mono_ns = host, port, mono_ns
        self.name = f"arinc429://{host}:{port}"
        self._decoder = WordDecoder(signals, channels, self.name, has_parity)
        self.refused: Counter[str] = self._decoder.refused
        self._socket: socket.socket | None = None
        self._buffer = bytearray(0)
        self._ahead: list[Words] = []  # read off the socket, not drained yet
        self._sequence: int | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    @property
    def feeds(self) -> frozenset[int]:
        """Indices of the groups that it makes rows of."""
        return self._decoder.feeds

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else self._port

    def open(self, timeout_s: float) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            made.bind((self._host, self._port))
        except OSError as error:
            made.close()
            raise Unreachable(f"cannot listen: {error}", self.name, "is the port taken?") from None
        made.setblocking(False)
        self._buffer = bytearray(BUFFER_BYTES)
        self._socket, self._sequence = made, None

    def drain(self, messages_max: int) -> int:
        """At most so many words. Words of a datagram that are too many wait for the next drain."""
        held = sum(map(len, self._ahead))
        if held < messages_max and self._socket is not None:
            self._receive(messages_max - held)
        taken = 0
        while self._ahead and taken < messages_max:
            words = self._ahead.pop(0)
            if len(words) > messages_max - taken:
                self._ahead.insert(0, words[messages_max - taken :])
                words = words[: messages_max - taken]
            self._decoder.push(words)
            taken += len(words)
        return taken

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        return self._decoder.pull(only, self._mono_ns())

    def close(self) -> None:
        made, self._socket = self._socket, None
        self._buffer = bytearray(0)
        if made is not None:
            made.close()

    def _receive(self, words_max: int) -> None:
        """Datagrams into the buffer, until it is full, there are words enough, or no more. One that
        is none of ours counts as a word: a flood of them must not keep the tick."""
        assert self._socket is not None
        receive, view = self._socket.recv_into, memoryview(self._buffer)
        sizes: list[int] = []
        at = 0
        last = min(BUFFER_BYTES - DATAGRAM_BYTES_MAX, words_max * UNIT)
        try:
            for _ in range(words_max):
                if at > last:
                    break
                size = receive(view[at:])
                if size % UNIT or size < UNIT:
                    self.refused["datagram"] += 1
                    continue
                sizes.append(size)
                at += size
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        view.release()
        if sizes:
            self._split(
                np.frombuffer(bytes(self._buffer[:at]) if self._buffer else b"", WORD), sizes
            )

    def _split(self, units: Words, sizes: list[int]) -> None:
        """Take the heads out, and with them what is not ours."""
        counts = np.array(sizes) // UNIT
        ends = np.cumsum(counts)
        heads = units[ends - counts].view(HEAD)
        good = (heads["magic"] == MAGIC) & (heads["version"] == 1) & (heads["count"] == counts - 1)
        self.refused["datagram"] += int((~good).sum())
        keep = np.repeat(good, counts)
        keep[ends - counts] = False
        if good.any():
            self._follow(heads["sequence"][good].astype(np.int64))
        if keep.any():
            self._ahead.append(units[keep])

    def _follow(self, sequence: np.typing.NDArray[np.int64]) -> None:
        """Count datagrams that were lost. A sender that begins again has lost none."""
        before = int(sequence[0]) - 1 if self._sequence is None else self._sequence
        steps = (np.diff(sequence, prepend=before) - 1) % (1 << 32)
        lost = int(steps[steps < 1 << 31].sum())
        self._sequence = int(sequence[-1])
        if lost:
            self.refused["lost datagram"] += lost
            self._decoder.miss()
