"""The process that runs an FMU: `python -m ground.models.fmu.child FOLDER PARENT`.

In: `request.json`, `model.fmu` and `inputs.npy` in FOLDER. Out: `answer.json` and, after a run,
`outputs.npy` [n, outputs] there.
Always holds: limits are set and the network is left, where the kernel lets us, before a byte of the
FMU is read; whatever happens here ends with this process, which dies with the one that started it.
The file system is not closed to it: an FMU is a program, and runs under the account of the ground's
worker. A process that it starts in a session of its own is bounded by the same limits, and outlives it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from ground.models.fmu.messages import (
    VARIABLES_MAX,
    Answer,
    BaseUnit,
    Description,
    Limits,
    Request,
    Variable,
)

MEMBERS_MAX = 2_000
UNPACKED_SHARE = 4  # of file_mb: what an FMU may hold unpacked
_PR_SET_PDEATHSIG = 1
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000  # linux/sched.h


class Refused(Exception):
    """The FMU does not do as it is."""


def main(folder: Path, parent: int) -> int:
    request = msgspec.json.decode((folder / "request.json").read_bytes(), type=Request)
    offline = _leave_network()  # first: other credentials would undo the next
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to die with it
        os._exit(1)
    _limit(request.limits)
    os.chdir(folder)
    try:
        answer = _done(request, folder)
    except Refused as error:
        answer = Answer(refused=str(error)[:4_000])
    except MemoryError:
        answer = Answer(failed="out of memory")
    except Exception as error:  # FMPy raises plain Exception for most of what is wrong
        answer = Answer(failed=f"{type(error).__name__}: {error}"[:4_000])
    answer = msgspec.structs.replace(answer, offline=offline)
    (folder / "answer.json").write_bytes(msgspec.json.encode(answer))
    # Not through the interpreter's end: an FMU's own exit handlers have no say any more.
    sys.stdout.flush()
    os._exit(0)


def _leave_network() -> bool:
    """A network namespace of its own has no interface that is up. Must come before any thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    return any(libc.unshare(x) == 0 for x in (_NEW_NETWORK, _NEW_NETWORK | _NEW_USER))


def _limit(limits: Limits) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_mb << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 128),
    ):
        resource.setrlimit(kind, (most, most))


def _done(request: Request, folder: Path) -> Answer:
    path = folder / "model.fmu"
    _check_archive(path, request.limits)
    from fmpy import supported_platforms
    from fmpy.model_description import read_model_description

    try:
        found = read_model_description(str(path), validate=True)
    except Exception as error:
        raise Refused(f"modelDescription.xml: {error}") from None
    if request.task == "describe":
        return Answer(description=_description(found, supported_platforms(str(path))))
    _run(request, folder, found)
    return Answer()


def _check_archive(path: Path, limits: Limits) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise Refused(f"not a ZIP archive: {error}") from None
    if len(members) > MEMBERS_MAX:
        raise Refused(f"{len(members)} files, at most {MEMBERS_MAX}")
    total = sum(x.file_size for x in members)
    if total > (UNPACKED_SHARE * limits.file_mb) << 20:
        raise Refused(f"{total >> 20} MiB unpacked, at most {UNPACKED_SHARE * limits.file_mb}")
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or ":" in name:
            raise Refused(f"a file named {member.filename[:80]!r}")


def _description(found: Any, platforms: Any) -> Description:
    if len(found.modelVariables) > VARIABLES_MAX:
        raise Refused(f"{len(found.modelVariables)} variables, at most {VARIABLES_MAX}")
    units = {x.name: x.baseUnit for x in found.unitDefinitions}
    return Description(
        str(found.modelName)[:1_000],
        str(found.fmiVersion),
        str(found.guid)[:1_000],
        found.coSimulation is not None,
        tuple(str(x) for x in platforms)[:64],
        tuple(_variable(x, units) for x in found.modelVariables),
    )


def _variable(x: Any, units: dict[str, Any]) -> Variable:
    unit = x.unit or (x.declaredType.unit if x.declaredType is not None else None)
    return Variable(
        x.name[:1_000], x.causality or "local", x.type or "", not x.dimensions, unit,
        _base(units.get(unit)) if unit else None,
    )  # fmt: skip


def _base(unit: Any) -> BaseUnit | None:
    if unit is None:
        return None
    exponents = tuple(int(getattr(unit, k)) for k in ("kg", "m", "s", "A", "K", "mol", "cd", "rad"))
    return BaseUnit(exponents, float(unit.factor), float(unit.offset))  # type: ignore[arg-type]


def _run(request: Request, folder: Path, found: Any) -> None:
    import numpy as np
    from fmpy import extract
    from fmpy.simulation import instantiate_fmu

    rows = np.load(folder / "inputs.npy", allow_pickle=False)
    known = {x.name: x for x in found.modelVariables}
    unpacked = extract(str(folder / "model.fmu"), unzipdir=str(folder / "unpacked"))
    try:
        fmu = instantiate_fmu(unpacked, found, "CoSimulation", require_functions=False)
    except Exception as error:
        what = f"cannot be instantiated (its binary may not be of this GUID): {error}"
        raise Refused(what) from None
    old = found.fmiVersion == "2.0"
    put, get = (fmu.setReal, fmu.getReal) if old else (fmu.setFloat64, fmu.getFloat64)
    into = [known[x].valueReference for x in request.inputs]
    out = [known[x].valueReference for x in request.outputs]
    for name, value in request.parameters.items():
        put([known[name].valueReference], [value])
    if old:
        fmu.setupExperiment(startTime=0.0)
        fmu.enterInitializationMode()
    else:
        fmu.enterInitializationMode(startTime=0.0)
    if len(rows):
        put(into, rows[0].tolist())
    fmu.exitInitializationMode()
    results = np.empty((len(rows), len(out)))
    for i, row in enumerate(rows.tolist()):
        put(into, row)
        results[i] = get(out)
        if i + 1 < len(rows):
            fmu.doStep(currentCommunicationPoint=i * request.step_s,
                       communicationStepSize=request.step_s)  # fmt: skip
    np.save(folder / "outputs.npy", results, allow_pickle=False)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
