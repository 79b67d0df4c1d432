"""The child process of one try: runs a handler, and says what it says.

In: one `Task` as JSON on stdin. Out: frames on stdout, one JSON object a line: any number of
progress, then one end. Always holds: what a handler prints goes to stderr, never between the
frames; the process dies with the worker that started it and stays below MEMORY_BYTES_MAX.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ground.config import Paths, load_config
from ground.jobs.handlers import Context
from shared.errors import Rejected, TailTwinError
from shared.log import setup

RESULT_BYTES_MAX = 8 << 20
MEMORY_BYTES_MAX = 6 << 30
"""Of address space (assumption: numpy, DuckDB and onnxruntime reserve far more than they use)."""
NICENESS = 5  # ingest and api share the machine, and somebody waits for them
PROGRESS_STEP = 0.005
PR_SET_PDEATHSIG = 1


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run. parent: process id of the worker."""

    job: str
    handler: str
    payload: dict[str, Any]
    state: str
    parent: int


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. end: `""` while it runs, then `done` with a result, `refused` or `error`."""

    end: str = ""
    progress: float = 0.0
    text: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")


def main() -> int:
    """Run the task on stdin; 0 when it was said how it ended."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a print in a model is no frame
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    _bound(task.parent)
    setup(f"job-{task.job}")
    frame = run(task, lambda said: _write(out, said))
    _write(out, frame)
    return 0


def run(task: Task, say: Callable[[Frame], None]) -> Frame:
    """The last frame. Whatever a handler does, short of ending the process, is one."""
    last = -1.0

    def progress(share: float, text: str = "") -> None:
        nonlocal last
        share = min(1.0, max(0.0, float(share)))
        if abs(share - last) >= PROGRESS_STEP:
            last = share
            say(Frame(progress=share, text=str(text)[:200]))

    try:
        paths = Paths(Path(task.state))
        context = Context(paths, load_config(paths), task.job)
        result = resolve(task.handler)(context, task.payload, progress)
        return Frame(end="done", progress=1.0, result=msgspec.Raw(_encoded(result)))
    except Rejected as error:
        return Frame(end="refused", text=str(error)[:1000])
    except TailTwinError as error:
        return Frame(end="error", text=str(error)[:1000])
    except MemoryError:
        return Frame(end="error", text=f"no memory left below {MEMORY_BYTES_MAX >> 20} MiB")
    except Exception as error:  # a bug of a model must be told, not only end a process
        where = traceback.extract_tb(error.__traceback__)[-1]
        traceback.print_exc()
        place = f"{Path(where.filename).name}:{where.lineno}"
        return Frame(end="error", text=f"bug: {error!r:.600} in {where.name} ({place})")


def resolve(name: str) -> Callable[..., Any]:
    """The function `module:function`."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _encoded(result: object) -> bytes:
    if not isinstance(result, dict | msgspec.Struct):
        raise TypeError(f"a handler returned {type(result).__name__}, no dict or message")
    body = msgspec.json.encode(result, order="deterministic")
    if len(body) > RESULT_BYTES_MAX:
        raise ValueError(f"a result of {len(body)} bytes, over the cap of {RESULT_BYTES_MAX}")
    return body


def _write(out: BinaryIO, frame: Frame) -> None:
    text = frame.text.encode("utf-8", "replace").decode()  # a foreign name may be no Unicode
    frame = msgspec.structs.replace(frame, text=text)
    with contextlib.suppress(BrokenPipeError):  # the worker is gone; so are we in a moment
        out.write(msgspec.json.encode(frame) + b"\n")
        out.flush()


def _bound(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to die with it
        os._exit(1)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
