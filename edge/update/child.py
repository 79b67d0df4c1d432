"""The child processes that know TUF, seen from the recorder: one fetches, one checks again.

In: a target path and what is in the slots. Out: a `FetchAnswer`. In: a live set. Out:
what stands against it.
Always holds: the child is killed when the call returns or is cancelled, at the latest at the
deadline, and gone unless the kernel holds it for a disk that does not answer; then its lock keeps
others out, and nobody waits. What it answers is decoded strictly; one that dies fetched nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from edge.niceness import give_way
from edge.update.slots import BundleSet, SlotsView
from edge.update.verified import (
    MESSAGE_BYTES_MAX,
    FetchAnswer,
    FetchFailure,
    FetchRequest,
    RecheckBundle,
    RecheckRequest,
    VerifiedSet,
)
from signing.verify import AttestationPolicy

START_S_MAX = 10.0  # assumption: starting Python and importing tuf took 0.2 s where measured
RECHECK_S_MAX = 30.0  # assumption: starting and verifying took 0.4 s where measured
RECHECK_TRIES = 3  # a machine that is busy at its start must not ground a good set for the day
GONE_S_MAX = 5.0  # assumption: a killed child that is not gone by then waits for a dying disk
RECHECK_COMMAND = (sys.executable, "-P", "-m", "edge.update.recheck")
_CODE_ROOT = Path(__file__).resolve().parents[2]


class FetchChild:
    """Runs `python -m edge.update.client` once a call.

    asked: what is the same in every call. ground_time_ns: the last wall time the ground proved, or
    None; bus_utc_ns: what the bus says, or None.
    """

    def __init__(
        self,
        asked: FetchRequest,
        ground_time_ns: Callable[[], int | None] = lambda: None,
        bus_utc_ns: Callable[[], int | None] = lambda: None,
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "edge.update.client"),
    ) -> None:
        self._asked, self._command = asked, command
        self._ground_time_ns, self._bus_utc_ns = ground_time_ns, bus_utc_ns

    async def __call__(self, target: str, slots: SlotsView) -> FetchAnswer:
        request = msgspec.structs.replace(
            self._asked, target=target, releases=slots.releases, held=slots.held,
            ground_time_ns=self._ground_time_ns(), bus_utc_ns=self._bus_utc_ns(),
        )  # fmt: skip
        deadline_s = request.deadline_s
        try:
            async with asyncio.timeout(deadline_s + START_S_MAX):
                returncode, output = await _ask(self._command, msgspec.json.encode(request))
        except TimeoutError:
            return FetchFailure(
                kind="unreachable", code="deadline", text=f"not done in {deadline_s:g} s",
                may_pass=True,
            )  # fmt: skip
        return _answer(returncode, output, target)


def _answer(returncode: int | None, output: bytes, target: str) -> FetchAnswer:
    text = f"the fetching child ended with {returncode}"
    if returncode == 0:
        text = (
            "the fetching child's answer is not one; restart the edge if its software was replaced"
        )
    died = FetchFailure(kind="unreachable", code="child_died", may_pass=True, text=text)
    if returncode != 0 or len(output) > MESSAGE_BYTES_MAX:
        return died
    try:
        answer: FetchAnswer = msgspec.json.decode(output, type=FetchAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return died
    if isinstance(answer, VerifiedSet) and target not in ("", *(b.target for b in answer.bundles)):
        return died
    return answer


async def still_trusted(
    folder: Path,
    live: BundleSet,
    attestation: AttestationPolicy,
    command: tuple[str, ...] = RECHECK_COMMAND,
    pause_s: float = 2.0,
) -> list[str]:
    """What stands against a live set, by the TUF metadata kept in `folder`; empty: nothing does.

    folder: `state/tuf`. Without an answer of one of RECHECK_TRIES children, `pause_s` between
    them, the set is not trusted.
    """
    request = RecheckRequest(
        folder=str(folder), attestation=attestation,
        bundles=tuple(
            RecheckBundle(
                target=b.path, release=b.release, sha256=b.sha256, path=str(live.path(b)),
                is_muted=b.name in live.muted_bundles,
            )
            for b in live.bundles
        ),
    )  # fmt: skip
    why = ""
    for number in range(RECHECK_TRIES):
        await asyncio.sleep(pause_s if number else 0)
        try:
            async with asyncio.timeout(RECHECK_S_MAX):
                returncode, output = await _ask(command, msgspec.json.encode(request))
            if returncode == 0 and len(output) <= MESSAGE_BYTES_MAX:
                return msgspec.json.decode(output, type=list[str])
            why = f"the child that checks the live set ended with {returncode}"
        except TimeoutError:
            why = f"the live set was not checked in {RECHECK_S_MAX:g} s"
        except OSError as error:
            why = f"the child that checks the live set did not start: {error.strerror}"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            why = "the child that checks the live set gave no answer"
    return [why]


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
    give_way(child.pid)
    try:
        output, _ = await child.communicate(request)
    finally:
        if child.returncode is None:
            child.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(GONE_S_MAX):
                    await child.wait()
    return child.returncode, output
