"""The program that fetches: one `FetchRequest` on stdin, one `FetchAnswer` on stdout.

`python -m edge.update.client`, which is how the recorder runs it: see `edge.update.child`.
Always holds: it ends at its deadline whatever the other side does, never outlives its parent, and
takes no more memory, processor time or file size than it was given.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from edge.models.confine import confine
from edge.update.session import METADATA_BYTES_MAX, fetch_set
from edge.update.verified import MESSAGE_BYTES_MAX, FetchAnswer, FetchFailure, FetchRequest
from shared.clock import SystemClock

MEMORY_BYTES_MAX = 512 << 20  # address space of the child; it needs about half of it
CPU_S_MAX = 30
FILES_MAX = 64
GRACE_S = 2.0


def main(arguments: list[str]) -> int:
    """Answer one request from stdin. Exit code 0 means that there is an answer.

    arguments: the parent's process id, so that this one does not outlive it.
    """
    data = sys.stdin.buffer.read(MESSAGE_BYTES_MAX + 1)
    try:
        request = msgspec.json.decode(data[:MESSAGE_BYTES_MAX], type=FetchRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        answer: FetchAnswer = FetchFailure(kind="rejected", code="request", text=str(error))
    else:
        _limit(request, int(arguments[0]) if arguments else os.getppid())
        scratch = Path(request.folder) / "targets"
        scratch.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(scratch)  # /tmp may be memory
        answer = fetch_set(request, SystemClock())
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


def _limit(request: FetchRequest, parent_pid: int) -> None:
    """What this process may cost the aircraft. The alarm ends it even if nobody else does."""
    file_bytes = max(request.bytes_max, METADATA_BYTES_MAX)
    confine(parent_pid, MEMORY_BYTES_MAX, CPU_S_MAX, file_bytes)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    signal.setitimer(signal.ITIMER_REAL, request.deadline_s + GRACE_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
