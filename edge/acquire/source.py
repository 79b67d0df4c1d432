"""A source of bus readings: what every bus looks like to the recorder.

In: one bus. Out: `Readings`, batches of one group, in the order in which the bus gave them.
Always holds: `drain` never blocks, and takes at most `messages_max` messages off the bus; what
did not fit stays where it was; what is not a reading is counted in `refused` by cause and costs
nothing else; a source that lost its bus says so and is opened again by the daemon.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from edge.acquire.reading import Readings


class Source(Protocol):
    """One bus. `open` may block for `timeout_s` and is called off the event loop."""

    refused: Counter[str]

    @property
    def name(self) -> str:
        """For people and logs: `mqtt://127.0.0.1:1884`."""
        ...

    @property
    def is_open(self) -> bool: ...
    def open(self, timeout_s: float) -> None:
        """Connect; raises shared.errors.Unreachable."""

    def drain(self, messages_max: int) -> int:
        """Empty the bus into this source's own buffers; how many messages came. Closes itself
        when the bus is gone."""
        ...

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        """The readings that wait, one batch a group; `only` of these group indices, or of all."""
        ...

    def close(self) -> None: ...
