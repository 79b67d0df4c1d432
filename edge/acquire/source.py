"""A source of bus readings: what every bus looks like to the recorder.

Input: one bus. Output: payloads, in the order in which the bus gave them, emptied in bulk.
Always holds: `drain` never blocks and returns at most `messages_max`; what did not fit stays
where it was; a source that lost its bus says so and is opened again by the daemon.
"""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """One bus. `open` may block for `timeout_s` and is called off the event loop."""

    @property
    def is_open(self) -> bool: ...
    def open(self, timeout_s: float) -> None:
        """Connect; raises shared.errors.Unreachable."""

    def drain(self, messages_max: int) -> list[bytes]:
        """What came since the last call. Closes itself when the bus is gone."""
        ...

    def close(self) -> None: ...
