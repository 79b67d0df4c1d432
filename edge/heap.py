"""The C heap of a process that runs for months: what is freed goes back to the machine.

In: nothing. Out: the allocator's settings, and freed pages given back. Always holds: where the C
library is not glibc nothing happens, and nothing here can fail a start.

Why: glibc lets its threshold for separate mappings grow to 32 MB as large arrays are freed, and
keeps an arena for each thread; blocks of a flight then lie between what lives long and the top
of the heap never falls (mallopt(3), M_MMAP_THRESHOLD). Fixed, an array of a block is a mapping of
its own and is gone when it is freed.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_BYTES: Final = 128 * 1024  # glibc's own first value, which a setting keeps from growing
_ARENAS: Final = 2  # the loop's and one for all threads beside it


def settle() -> bool:
    """Fix the thresholds, before threads start. False where the C library has none of this."""
    libc = _libc()
    if libc is None:
        return False
    done = [
        libc.mallopt(_M_MMAP_THRESHOLD, _BYTES),
        libc.mallopt(_M_TRIM_THRESHOLD, _BYTES),
        libc.mallopt(_M_ARENA_MAX, _ARENAS),
    ]
    return all(done)


def give_back() -> bool:
    """Give freed pages of all arenas back; takes milliseconds. True when some were."""
    libc = _libc()
    return libc is not None and bool(libc.malloc_trim(0))


def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
