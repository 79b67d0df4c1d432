"""Admission: may these bytes become a session here? Decided in children that can be killed.

In: a bundle file and the profile's bounds. Out: an `AdmissionResult` with the hash of the bytes
that were judged, so that the caller activates those and no others.
Always holds: refused unless proved fit; a child has bounded memory, CPU time and wall time; no
session exists before the graph itself was examined; a crash of a child is a refusal. Each stage
has a child of its own, one after the other: onnx and onnxruntime never share the memory.

`python -m edge.models.admission FILE` judges a file by hand.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from edge.models.confine import ENVIRONMENT, confine
from shared.bundle import parse_selftest, unpack
from shared.errors import Rejected
from shared.profile import ModelBounds

RESULT_BYTES_MAX = 64 * 1024
STAGES = ("graph", "session")


class AdmissionResult(msgspec.Struct, frozen=True):
    """The decision. sha256: of the bytes that were judged, hex."""

    ok: bool
    reasons: list[str]
    sha256: str = ""
    name: str = ""
    version: str = ""
    release: int = 0


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
    result = AdmissionResult(False, ["not judged"])
    for stage in STAGES:
        result = await _ask_child(stage, data, bounds)
        if not result.ok:
            break
    return result


async def _ask_child(stage: str, data: bytes, bounds: ModelBounds) -> AdmissionResult:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "edge.models.admission", f"--{stage}",
        msgspec.json.encode(bounds).decode(), str(os.getpid()),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
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
        return AdmissionResult(False, [f"{stage}: the child ended with {child.returncode}"])
    try:
        return msgspec.json.decode(out[:RESULT_BYTES_MAX], type=AdmissionResult)
    except msgspec.DecodeError:
        return AdmissionResult(False, [f"{stage}: the child gave no answer"])


def decide(stage: str, data: bytes, bounds: ModelBounds) -> AdmissionResult:
    """One stage, in this process. Only for a process that can be killed: a child, or a test."""
    try:
        files = unpack(data, bounds)
        bundle = files.bundle
        selftest = parse_selftest(files.selftest, bundle, "bundle")
    except Rejected as error:
        return AdmissionResult(False, [error.what])
    if len(bundle.instances) > bounds.instances_max:
        return AdmissionResult(False, [f"{len(bundle.instances)} instances, over the bound"])
    if stage == "graph":
        from edge.models.graph import examine  # here, so that the recorder never imports onnx

        reasons = examine(files.model, bundle, bounds)
    else:
        from edge.models.selftest import reproduce  # here, for the same reason: onnxruntime
        from edge.models.session import FusedSession

        try:
            reasons = reproduce(FusedSession([files]), [selftest])
        except Exception as error:  # onnxruntime raises its own unrelated types
            reasons = [f"no session: {str(error)[:200]}"]
    return AdmissionResult(
        not reasons, reasons, files.sha256, bundle.name, bundle.version, bundle.release
    )


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)


def main(arguments: list[str]) -> int:
    """`FILE`, by hand; or one stage as a child, the bundle on standard input."""
    if len(arguments) == 1 and not arguments[0].startswith("-"):
        result = asyncio.run(admit(Path(arguments[0]), ModelBounds()))
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
        return 0 if result.ok else Rejected.exit_code
    if len(arguments) != 3 or arguments[0] not in [f"--{stage}" for stage in STAGES]:
        print("usage: python -m edge.models.admission FILE", file=sys.stderr)
        return 64  # EX_USAGE
    bounds = msgspec.json.decode(arguments[1], type=ModelBounds)
    confine(int(arguments[2]), bounds.worker_address_space_mb << 20, bounds.admission_cpu_s, 0)
    data = sys.stdin.buffer.read(bounds.bundle_bytes_max + 1)
    result = decide(arguments[0][2:], data, bounds)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
