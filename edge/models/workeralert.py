"""The model worker as something that can fail: its failures as one alert.

In: the host's status, at each look. Out: `Alert` messages through the alert book.
Always holds: every failure since the last look counts as down, however short it was; the alert
clears only after the worker ran for `CLEAR_NS` without another; a worker without a set is not
down, and one that starts for the first time is not either.
"""

from __future__ import annotations

import numpy as np

from edge.models.alerts import AlertBook, Rule
from edge.models.host import HostStatus
from shared.messages import Alert
from shared.phases import Phase

CLEAR_NS = 60_000_000_000  # as long as a pause of the host may grow, twice; an assumption
RULE = Rule(
    # ATA 45: on-board maintenance systems, which ARINC 604 gives the equipment that reports on
    # others, itself included; the rest of the code is ours
    name="model_worker_down", fault_code="45-10-001", ata="451000", severity="advisory",
    onset=1.0, clear=0.0, high=True, persistence_ns=0, clear_persistence_ns=CLEAR_NS,
    phases=(), rate_per_hour_max=6, hole_ns=CLEAR_NS,
)  # fmt: skip


class WorkerAlert:
    """Remembers which failures it has seen."""

    def __init__(self, book: AlertBook) -> None:
        self._book, self._seen, self._failing = book, 0, False

    def judge(self, status: HostStatus, t_ns: int, phase: Phase) -> list[Alert]:
        """Changes at one look. t_ns: event time; nothing is judged before there is any."""
        if not t_ns:
            return []
        fresh, self._seen = status.failures > self._seen, max(self._seen, status.failures)
        up = status.state in ("running", "empty")
        self._failing = fresh or (self._failing and not up)
        value = 1.0 if self._failing else 0.0
        return self._book.judge(
            RULE, np.array([t_ns]), np.array([value]), phase, lambda _: None
        )  # fmt: skip
