"""The child process that fetches, seen from the recorder.

In: a target path and the releases not to fall behind. Out: a `FetchAnswer`.
Always holds: the child is gone when the call returns or is cancelled, at the latest at the
deadline; what it answers is decoded strictly; a child that dies has fetched nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from edge.update.verified import (
    DEADLINE_S,
    MESSAGE_BYTES_MAX,
    FetchAnswer,
    FetchFailure,
    FetchRequest,
    VerifiedBundle,
)
from signing.verify import BUNDLE_BYTES_MAX, Aircraft

START_S_MAX = 10.0  # assumption: starting Python and importing tuf took 0.2 s where measured
_CODE_ROOT = Path(__file__).resolve().parents[2]


class FetchChild:
    """Runs `python -m edge.update.client` once a call.

    ground_time_ns: the last wall time the ground proved, or None.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        aircraft: Aircraft,
        deadline_s: float = DEADLINE_S,
        bytes_max: int = BUNDLE_BYTES_MAX,
        ground_time_ns: Callable[[], int | None] = lambda: None,
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "edge.update.client"),
    ) -> None:
        self._folder, self._url, self._aircraft = folder, url, aircraft
        self._deadline_s, self._bytes_max = deadline_s, bytes_max
        self._ground_time_ns, self._command = ground_time_ns, command

    async def __call__(self, target: str, releases: Mapping[str, int]) -> FetchAnswer:
        request = FetchRequest(
            folder=str(self._folder), url=self._url, target=target, aircraft=self._aircraft,
            releases=dict(releases), deadline_s=self._deadline_s, bytes_max=self._bytes_max,
            ground_time_ns=self._ground_time_ns(),
        )  # fmt: skip
        child = await asyncio.create_subprocess_exec(
            *self._command,
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": str(_CODE_ROOT)},
        )
        try:
            async with asyncio.timeout(self._deadline_s + START_S_MAX):
                output, _ = await child.communicate(msgspec.json.encode(request))
        except TimeoutError:
            return FetchFailure(
                kind="unreachable", code="deadline", text=f"not done in {self._deadline_s:g} s"
            )
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return self._answer(child.returncode, output, target)

    def _answer(self, returncode: int | None, output: bytes, target: str) -> FetchAnswer:
        died = FetchFailure(
            kind="unreachable",
            code="child_died",
            text=f"the fetching child ended with {returncode}",
        )
        if returncode != 0 or len(output) > MESSAGE_BYTES_MAX:
            return died
        try:
            answer: FetchAnswer = msgspec.json.decode(output, type=FetchAnswer)
        except msgspec.DecodeError:
            return died
        if isinstance(answer, VerifiedBundle) and answer.target != target:
            return died
        return answer
