"""Limits that a child process puts on itself before it reads a byte from outside.

In: bounds. Always holds after `confine`: no core file, no new privileges, bounded address space;
the process dies with its parent. After `seal`: only the system calls of edge.models.seccomp.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

from edge.models.seccomp import install
from shared.errors import Unreachable

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h

ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All that a model child gets of an environment."""


def confine(
    parent_pid: int,
    address_space_bytes: int,
    cpu_s: int | None = None,
    file_bytes: int | None = None,
) -> None:
    """Confine this process; exits at once when the parent is gone already."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    if cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def seal(required: bool) -> None:
    """Give up every system call but those of computing, once all imports are done.

    required: end here where the kernel cannot filter; else go on without.
    """
    try:
        install()
    except Unreachable as error:
        if required:
            sys.exit(f"{error.what}; {error.remedy}")
