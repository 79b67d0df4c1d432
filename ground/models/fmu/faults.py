"""What can go wrong with an FMU, each by its own name; none of it stops the ground.

Always holds: `FmuRefused` is the file's or the binding's fault and is told before anything runs; the
others happened in the child process, which is gone when they are raised.
"""

from __future__ import annotations

from shared.errors import Rejected, TailTwinError


class FmuRefused(Rejected):
    """The file, its description or its binding does not do: wrong unit, no binary, wrong GUID."""


class FmuFailed(TailTwinError):
    """The FMU itself said that it failed, or gave no number."""


class FmuCrashed(FmuFailed):
    """Its process died: a signal, an exit, no memory left."""


class FmuTimedOut(FmuFailed):
    """It used up its time, on the clock or on the processor, and was ended."""


class FmuTooLarge(FmuFailed):
    """It wrote more than it may, and was ended."""
