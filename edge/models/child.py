"""One worker process, and what it still owes an answer to.

In: a started process. Out: its end, and why. Always holds: it is killed by descriptor, never by
a number that could be another process by now; the first reason given for its end is the one kept.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Literal

from edge.models.frames import Loaded, Stepped

STDERR_CHARS_MAX = 500
STDERR_BYTES, STDERR_PAUSE_S = 65_536, 0.1  # at most so much is read in such a time
END_S = 1.0  # from end of output to a kill

FailureKind = Literal["crash", "hang", "growth", "answer", "load", "start"]


class WorkerProcess:
    """One process and what it still owes an answer to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.waiting: dict[int, asyncio.Future[Loaded | Stepped]] = {}
        self.failure = ""
        self.kind: FailureKind = "crash"
        self.baseline = 0
        """Resident bytes at the first look after its set was loaded; 0 before."""
        # By descriptor: Popen.kill polls first, which can reap the child before asyncio does
        # (its status is lost then), and a number could be another process by now.
        self._pidfd = os.pidfd_open(process.pid)
        self._closed = False

    def kill(self, kind: FailureKind, why: str) -> None:
        if self._closed:
            return
        if not self.failure:
            self.kind, self.failure = kind, why
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended already

    async def end(self) -> int:
        """Its status, once it closed its output; it gets a moment to end by itself."""
        try:
            async with asyncio.timeout(END_S):
                return await self.process.wait()
        except TimeoutError:
            self.kill("answer", "closed its output")
            return await self.process.wait()

    def close(self) -> None:
        self._closed = True
        os.close(self._pidfd)
        # one that flooded was not read to its end: its pipes would stay open until collected
        transport = getattr(self.process, "_transport", None)
        if transport is not None:
            transport.close()


def ending(status: int) -> str:
    if status == -signal.SIGSYS:
        return "ended by its system call filter"
    return f"ended with status {status}"


async def last_words(process: asyncio.subprocess.Process) -> str:
    """The end of what the worker wrote to stderr; reads on, so that it never blocks for good. One
    that writes without end waits, and not the recorder."""
    stderr, tail = process.stderr, b""
    assert stderr is not None
    while chunk := await stderr.read(STDERR_BYTES):
        tail = (tail + chunk)[-STDERR_CHARS_MAX:]
        await asyncio.sleep(STDERR_PAUSE_S)
    return tail.decode(errors="replace").strip().splitlines()[-1] if tail.strip() else ""
