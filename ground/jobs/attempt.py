"""One try of a job, in a child process with a time limit.

In: a job and its kind. Out: how the try ended, and its progress meanwhile.
Always holds: the worker never runs a handler itself, so that one that hangs, leaks or crashes
costs its own process only; that process and all it started are killed at the time limit, and
when the try is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ground.jobs.child import RESULT_BYTES_MAX, Frame, Task
from ground.jobs.handlers import Kind
from ground.jobs.job import Job

FRAME_BYTES_MAX = RESULT_BYTES_MAX + 4096
EXIT_WAIT_S = 5.0  # from the last frame to the end of the process (assumption)
ENVIRONMENT = {"ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a try ended. how: `done` with a result (a JSON object), `refused`, or `error`."""

    how: str
    text: str = ""
    result: bytes = b""


class Attempt:
    """One try; `progress` and `text` are the newest that its handler said."""

    def __init__(self, job: Job, kind: Kind, state: Path) -> None:
        self._job, self._kind, self._state = job, kind, state
        self.progress, self.text = 0.0, ""

    async def run(self) -> Ended:
        """Until it ends by itself or by the time limit. Cancelled, it kills what it started."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "ground.jobs.child",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                limit=FRAME_BYTES_MAX, start_new_session=True, env={**os.environ, **ENVIRONMENT},
            )  # fmt: skip
        except OSError as error:  # no process or memory left on this machine
            return Ended("error", f"cannot start a process: {error.strerror}")
        try:
            async with asyncio.timeout(self._kind.time_limit_s):
                await self._send(process)
                ended = await self._frames(process)
        except TimeoutError:
            limit_s = self._kind.time_limit_s
            return Ended("error", f"no end within {limit_s:g} s; it was at {self.progress:.0%}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return ended

    async def _send(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        task = Task(self._job.id, self._kind.handler, self._job.payload, str(self._state),
                    os.getpid())  # fmt: skip
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(msgspec.json.encode(task))
            process.stdin.write_eof()
            await process.stdin.drain()

    async def _frames(self, process: asyncio.subprocess.Process) -> Ended:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
                if not line:
                    return Ended("error", f"its process ended with {await _code(process)}")
                frame = msgspec.json.decode(line, type=Frame)
            except (ValueError, msgspec.DecodeError) as error:
                return Ended("error", f"its process said no frame: {error!r:.200}")
            if not frame.end:
                self.progress, self.text = frame.progress, frame.text
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), EXIT_WAIT_S)
            return Ended(frame.end, frame.text, bytes(frame.result))


async def _code(process: asyncio.subprocess.Process) -> str:
    try:
        code = await asyncio.wait_for(process.wait(), EXIT_WAIT_S)
    except TimeoutError:
        return "its output closed, and goes on"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
