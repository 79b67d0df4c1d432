"""Admission: may these bytes become a session here? Decided in children that can be killed.

In: a bundle file and the profile's bounds. Out: an `AdmissionResult` with the hash of the bytes
that were judged, so that the caller activates those and no others.
Always holds: refused unless proved fit; a child has bounded memory, CPU time and wall time; no
session exists before the graph itself was examined; a crash of a child is a refusal. Each stage
has a child of its own, one after the other: onnx and onnxruntime never share the memory, and
neither can open a file, a socket or a program (`edge.models.seccomp`).

By hand: `tailtwin-edge admit FILE --profile PROFILE`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from edge.models.confine import ENVIRONMENT, confine, seal
from edge.models.resident import PeakMemory
from edge.models.vectors import against_vectors
from edge.niceness import give_way
from shared.bundle import Bundle, parse_selftest, unpack
from shared.errors import Rejected
from shared.profile import ModelBounds

RESULT_BYTES_MAX = 64 * 1024
VECTOR_REASONS_MAX = 16
STAGES = ("graph", "session")
ENDINGS: dict[int, str] = {
    signal.SIGSYS: "by its system call filter",
    signal.SIGXCPU: "at its bound of CPU time",
    signal.SIGKILL: "by SIGKILL: CPU time or memory",
}
BARE = "bare"
"""The stage of a graph without a bundle: what stands against the graph alone."""


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model asks for. None: that stage did not come to it."""

    nodes: int | None = None
    constants: int | None = None
    elements_largest: int | None = None
    """Of any tensor."""
    operations: int | None = None
    """Of one step, counted from the shapes."""
    step_us: float | None = None
    """CPU time of one step of the self-test, the median; microseconds."""
    session_mb: float | None = None
    """What making and stepping the session added to the peak of its child's resident memory."""


class AdmissionResult(msgspec.Struct, frozen=True):
    """The decision. sha256: of the bytes that were judged, hex."""

    ok: bool
    reasons: list[str]
    sha256: str = ""
    name: str = ""
    version: str = ""
    release: int = 0
    cost: Cost = Cost()


async def admit(path: Path, bounds: ModelBounds) -> AdmissionResult:
    """Judge the bundle file at `path` in a child process."""
    try:
        data = await asyncio.to_thread(_read, path, bounds.bundle_bytes_max)
    except OSError as error:
        return AdmissionResult(False, [f"cannot read {path.name}: {error.strerror}"])
    return await admit_bytes(data, bounds)


async def admit_bytes(data: bytes, bounds: ModelBounds) -> AdmissionResult:
    """Judge a bundle file's bytes, stage by stage."""
    if len(data) > bounds.bundle_bytes_max:
        return AdmissionResult(False, [f"over {bounds.bundle_bytes_max} bytes"])
    result, cost = AdmissionResult(False, ["not judged"]), Cost()
    for stage in STAGES:
        result = await _ask_child(stage, data, bounds)
        cost = _both(cost, result.cost)
        if not result.ok:
            break
    return msgspec.structs.replace(result, cost=cost)


async def admit_graph(data: bytes, bounds: ModelBounds) -> AdmissionResult:
    """What stands against a bare `model.onnx`; no session is made, and nothing may run it."""
    if len(data) > bounds.unpacked_bytes_max:
        return AdmissionResult(False, [f"over {bounds.unpacked_bytes_max} bytes"])
    return await _ask_child(BARE, data, bounds)


def _both(one: Cost, other: Cost) -> Cost:
    known = {k: v for k, v in msgspec.structs.asdict(other).items() if v is not None}
    return msgspec.structs.replace(one, **known)


async def _ask_child(stage: str, data: bytes, bounds: ModelBounds) -> AdmissionResult:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "edge.models.admission", f"--{stage}",
        msgspec.json.encode(bounds).decode(), str(os.getpid()),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    give_way(child.pid)
    try:
        async with asyncio.timeout(bounds.admission_deadline_s):
            out, _ = await child.communicate(data)
    except TimeoutError:
        return AdmissionResult(False, [f"no decision in {bounds.admission_deadline_s:g} s"])
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        why = ENDINGS.get(-(child.returncode or 0), f"with {child.returncode}")
        return AdmissionResult(False, [f"{stage}: the child ended {why}"])
    try:
        return msgspec.json.decode(out[:RESULT_BYTES_MAX], type=AdmissionResult)
    except msgspec.DecodeError:
        return AdmissionResult(False, [f"{stage}: the child gave no answer"])


def decide(
    stage: str, data: bytes, bounds: ModelBounds, memory: PeakMemory | None = None
) -> AdmissionResult:
    """One stage, in this process. Only for a process that can be killed: a child, or a test.

    memory: made before the process gave up opening files.
    """
    if stage == BARE:
        return _judge_graph(data, None, bounds)
    try:
        files = unpack(data, bounds)
        bundle = files.bundle
        selftest = parse_selftest(files.selftest, bundle, "bundle")
    except Rejected as error:
        return AdmissionResult(False, [error.what])
    if len(bundle.instances) > bounds.instances_max:
        return AdmissionResult(False, [f"{len(bundle.instances)} instances, over the bound"])
    against = against_vectors(bundle, selftest)
    if against:
        result = AdmissionResult(False, against[:VECTOR_REASONS_MAX])
    elif stage == "graph":
        result = _judge_graph(files.model, bundle, bounds)
    else:
        from edge.models.selftest import judge_session  # here: onnxruntime is not for the recorder

        reasons, step_us, session_mb = judge_session(files, selftest, memory or PeakMemory())
        cost = Cost(step_us=step_us, session_mb=session_mb)
        reasons = reasons or _too_dear(cost, bundle, bounds)
        result = AdmissionResult(not reasons, reasons, cost=cost)
    return msgspec.structs.replace(
        result, sha256=files.sha256, name=bundle.name, version=bundle.version,
        release=bundle.release,
    )  # fmt: skip


def _too_dear(cost: Cost, bundle: Bundle, bounds: ModelBounds) -> list[str]:
    """What was measured, against the bounds: an operation may cost 50 times another one."""
    assert cost.step_us is not None and cost.session_mb is not None
    reasons, percent = [], cost.step_us * bundle.rate_hz / 1e4
    if percent > bounds.bundle_cpu_percent_max:
        reasons.append(
            f"{percent:.1f} % of a core at {bundle.rate_hz:g} Hz, the profile allows "
            f"{bounds.bundle_cpu_percent_max:g} %"
        )
    if cost.session_mb > bounds.session_mb_max:
        reasons.append(
            f"{cost.session_mb:.0f} MB for its session, the profile allows {bounds.session_mb_max}"
        )
    return reasons


def _judge_graph(model: bytes, bundle: Bundle | None, bounds: ModelBounds) -> AdmissionResult:
    from edge.models.graph import examination  # here, so that the recorder never imports onnx

    seen = examination(model, bundle, bounds)
    if seen.reasons:
        return AdmissionResult(False, seen.reasons)
    cost = Cost(nodes=seen.nodes, constants=seen.constants, elements_largest=seen.elements,
                operations=seen.operations)  # fmt: skip
    return AdmissionResult(True, [], cost=cost)


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)


def _warm(stage: str) -> None:
    """All imports, before the process may open no file any more."""
    if stage == "session":
        from edge.models import selftest, session

        session.warm()
        assert selftest
    else:
        from edge.models import graph

        assert graph


def main(arguments: list[str]) -> int:
    """One stage as a child, what is judged on standard input: `--STAGE BOUNDS PARENT_PID`."""
    if len(arguments) != 3 or arguments[0] not in [f"--{stage}" for stage in (*STAGES, BARE)]:
        print("tailtwin-edge admit FILE --profile PROFILE judges a file", file=sys.stderr)
        return 64  # EX_USAGE
    stage, bounds = arguments[0][2:], msgspec.json.decode(arguments[1], type=ModelBounds)
    confine(int(arguments[2]), bounds.worker_address_space_mb << 20, bounds.admission_cpu_s, 0)
    _warm(stage)
    memory = PeakMemory()
    seal(bounds.seccomp_required)
    data = sys.stdin.buffer.read(max(bounds.bundle_bytes_max, bounds.unpacked_bytes_max) + 1)
    result = decide(stage, data, bounds, memory)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
