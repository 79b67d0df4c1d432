"""The child processes that know TUF, seen from the recorder: one fetches, one checks again.

In: a target path and the releases not to fall behind. Out: a `FetchAnswer`. In: a live set. Out:
what stands against it.
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

from edge.update.slots import BundleSet, SlotsView
from edge.update.verified import (
    DEADLINE_S,
    MESSAGE_BYTES_MAX,
    FetchAnswer,
    FetchFailure,
    FetchRequest,
    RecheckRequest,
    VerifiedBundle,
)
from signing.verify import BUNDLE_BYTES_MAX, Aircraft

START_S_MAX = 10.0  # assumption: starting Python and importing tuf took 0.2 s where measured
RECHECK_S_MAX = 30.0  # assumption: starting and verifying took 0.4 s where measured
RECHECK_COMMAND = (sys.executable, "-P", "-m", "edge.update.recheck")
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

    async def __call__(self, target: str, releases: Mapping[str, int] | SlotsView) -> FetchAnswer:
        least = releases.releases if isinstance(releases, SlotsView) else releases
        request = FetchRequest(
            folder=str(self._folder), url=self._url, target=target, aircraft=self._aircraft,
            releases=dict(least), deadline_s=self._deadline_s, bytes_max=self._bytes_max,
            ground_time_ns=self._ground_time_ns(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._deadline_s + START_S_MAX):
                returncode, output = await _ask(self._command, msgspec.json.encode(request))
        except TimeoutError:
            return FetchFailure(
                kind="unreachable", code="deadline", text=f"not done in {self._deadline_s:g} s"
            )
        return self._answer(returncode, output, target)

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


async def still_trusted(
    folder: Path, live: BundleSet, command: tuple[str, ...] = RECHECK_COMMAND
) -> list[str]:
    """What stands against a live set, by the TUF metadata kept in `folder`; empty: nothing does.

    folder: `state/tuf/image`. Without an answer of the child the set is not trusted.
    """
    bundles = tuple((f"{b.name}/{b.file}", b.release, b.sha256) for b in live.bundles)
    request = RecheckRequest(folder=str(folder), bundles=bundles)
    try:
        async with asyncio.timeout(RECHECK_S_MAX):
            returncode, output = await _ask(command, msgspec.json.encode(request))
        if returncode == 0 and len(output) <= MESSAGE_BYTES_MAX:
            return msgspec.json.decode(output, type=list[str])
        return [f"the child that checks the live set ended with {returncode}"]
    except TimeoutError:
        return [f"the live set was not checked in {RECHECK_S_MAX:g} s"]
    except msgspec.DecodeError:
        return ["the child that checks the live set gave no answer"]


async def _ask(command: tuple[str, ...], request: bytes) -> tuple[int | None, bytes]:
    """Run a child on one request: its exit code and what it answered."""
    child = await asyncio.create_subprocess_exec(
        *command,
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": str(_CODE_ROOT)},
    )
    try:
        output, _ = await child.communicate(request)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode, output
