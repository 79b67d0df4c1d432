"""The system calls a model child keeps: a seccomp filter it puts on itself, for good.

In: nothing. Out: a BPF program for this machine; `install` hands it to the kernel.
Always holds: an allow-list, checked against the architecture first; no file is opened, no
program started, no process forked, no socket made, no memory made executable. What no library of
ours has a reason to try ends the process (SIGSYS), so that it is seen; the rest gets EPERM.

Sources: linux/seccomp.h, linux/filter.h, linux/audit.h; numbers from asm/unistd_64.h (x86_64) and
asm-generic/unistd.h (aarch64). Why not a library: docs/adr/0008.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import NamedTuple

from shared.errors import Unreachable

_SET_MODE_FILTER, _TSYNC = 1, 1  # linux/seccomp.h; TSYNC: every thread that exists already
_PR_SET_NO_NEW_PRIVS = 38
_KILL_PROCESS, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # ld [k], and #k, ret #k
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45  # jump if A == k, A >= k, A & k
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data
_X32_BIT = 0x4000_0000  # numbers of the x32 interface on x86_64
_CLONE_THREAD, _PROT_EXEC = 0x1_0000, 0x4


class Machine(NamedTuple):
    """audit: AUDIT_ARCH_*; seccomp: the number of seccomp(2) itself."""

    audit: int
    seccomp: int
    numbers: dict[str, int]


ALLOWED = (
    "read", "write", "futex", "writev", "close", "fstat", "newfstatat", "lseek", "munmap",
    "mremap", "madvise", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
    "sched_yield", "sched_getaffinity", "clock_gettime", "clock_getres", "clock_nanosleep",
    "nanosleep", "gettimeofday", "getrandom", "gettid", "getpid", "getppid", "exit", "exit_group",
    "set_robust_list", "rseq", "set_tid_address", "getrusage", "sysinfo", "uname", "poll", "ppoll",
    "restart_syscall", "membarrier", "getcpu",
)  # fmt: skip
"""Whatever their arguments. Allowed by an argument: mmap and mprotect (not executable), clone (a
thread only), tgkill (this process only), prlimit64 (to ask for limits of this process)."""

FATAL = (
    "execve", "execveat", "socket", "connect", "bind", "ptrace", "mount", "unshare", "setns",
    "process_vm_readv", "process_vm_writev", "bpf", "init_module", "finit_module", "kexec_load",
)  # fmt: skip

_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
    "rt_sigreturn": 15, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
    "nanosleep": 35, "getpid": 39, "socket": 41, "connect": 42, "bind": 49, "clone": 56,
    "execve": 59, "exit": 60, "uname": 63, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99,
    "ptrace": 101, "getppid": 110, "sigaltstack": 131, "mount": 165, "init_module": 175,
    "gettid": 186, "futex": 202, "sched_getaffinity": 204, "set_tid_address": 218,
    "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230,
    "exit_group": 231, "tgkill": 234, "kexec_load": 246, "newfstatat": 262, "ppoll": 271,
    "unshare": 272, "set_robust_list": 273, "prlimit64": 302, "setns": 308, "getcpu": 309,
    "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "getrandom": 318,
    "bpf": 321, "execveat": 322, "membarrier": 324, "rseq": 334, "clone3": 435,
}  # fmt: skip
_AARCH64 = {
    "mount": 40, "close": 57, "lseek": 62, "read": 63, "write": 64, "writev": 66, "ppoll": 73,
    "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "set_tid_address": 96,
    "unshare": 97, "futex": 98, "set_robust_list": 99, "nanosleep": 101, "kexec_load": 104,
    "init_module": 105, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
    "ptrace": 117, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
    "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
    "rt_sigreturn": 139, "uname": 160, "getrusage": 165, "getcpu": 168, "gettimeofday": 169,
    "getpid": 172, "getppid": 173, "gettid": 178, "sysinfo": 179, "socket": 198, "bind": 200,
    "connect": 203, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220, "execve": 221,
    "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "getrandom": 278,
    "bpf": 280, "execveat": 281, "membarrier": 283, "rseq": 293, "clone3": 435,
}  # fmt: skip

MACHINES = {
    "x86_64": Machine(0xC000_003E, 317, _X86_64),
    "aarch64": Machine(0xC000_00B7, 277, _AARCH64),
}


class _Instruction(NamedTuple):
    """struct sock_filter."""

    code: int
    jump_true: int
    jump_false: int
    k: int


def program(machine: Machine, pid: int) -> list[_Instruction]:
    """The filter of a process; tgkill (which abort() uses) reaches that process only."""
    denied, lines = _ERRNO | errno.EPERM, list[_Instruction]()
    lines += [
        _Instruction(_LOAD, 0, 0, _ARCH_AT),
        _Instruction(_EQUAL, 1, 0, machine.audit),
        _Instruction(_RETURN, 0, 0, _KILL_PROCESS),
        _Instruction(_LOAD, 0, 0, _NUMBER_AT),
        _Instruction(_AT_LEAST, 0, 1, _X32_BIT),
        _Instruction(_RETURN, 0, 0, denied),
    ]

    def when(name: str, *body: _Instruction) -> None:
        number = machine.numbers.get(name)
        if number is not None:  # poll is not a call of its own on aarch64
            lines.extend((_Instruction(_EQUAL, 0, len(body), number), *body))

    def bits(argument: int, mask: int, if_any: int, if_none: int) -> tuple[_Instruction, ...]:
        return (
            _Instruction(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
            _Instruction(_ANY_BIT, 0, 1, mask),
            _Instruction(_RETURN, 0, 0, if_any),
            _Instruction(_RETURN, 0, 0, if_none),
        )

    def words(*wanted: tuple[int, int]) -> Iterator[_Instruction]:
        """Allowed when each 32-bit word at an offset of the arguments is as wanted."""
        for i, (offset, value) in enumerate(wanted):
            yield _Instruction(_LOAD, 0, 0, _ARGUMENTS_AT + offset)
            yield _Instruction(_EQUAL, 0, 2 * (len(wanted) - i) - 1, value)
        yield _Instruction(_RETURN, 0, 0, _ALLOW)
        yield _Instruction(_RETURN, 0, 0, denied)

    for name in ALLOWED:
        when(name, _Instruction(_RETURN, 0, 0, _ALLOW))
    for name in ("mmap", "mprotect"):
        when(name, *bits(2, _PROT_EXEC, denied, _ALLOW))
    when("clone", *bits(0, _CLONE_THREAD, _ALLOW, denied))
    # its flags are behind a pointer, which no filter can follow; glibc then uses clone
    when("clone3", _Instruction(_RETURN, 0, 0, _ERRNO | errno.ENOSYS))
    when("tgkill", *words((0, pid)))
    # both halves of the pointer to a new limit: root could lift its own
    when("prlimit64", *words((0, 0), (16, 0), (20, 0)))
    for name in FATAL:
        when(name, _Instruction(_RETURN, 0, 0, _KILL_PROCESS))
    lines.append(_Instruction(_RETURN, 0, 0, denied))
    return lines


def install(architecture: str = "") -> None:
    """Filter every thread of this process from now on; Unreachable where the kernel cannot.

    Everything that opens a file (imports, onnxruntime's look at the processors) was done before.
    """
    name = architecture or platform.machine()
    machine = MACHINES.get(name)
    if machine is None:
        raise Unreachable(f"no filter is known for {name}", "seccomp", _REMEDY)
    lines = program(machine, os.getpid())
    packed = b"".join(struct.pack("=HBBI", *line) for line in lines)
    code = ctypes.create_string_buffer(packed, len(packed))
    head = struct.pack("@HP", len(lines), ctypes.addressof(code))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(machine.seccomp, _SET_MODE_FILTER, _TSYNC, ctypes.c_char_p(head)) != 0:
        why = os.strerror(ctypes.get_errno())
        raise Unreachable(f"the kernel refuses the filter: {why}", "seccomp", _REMEDY)


_REMEDY = "a kernel with CONFIG_SECCOMP_FILTER, or models.seccomp_required = false in the profile"
