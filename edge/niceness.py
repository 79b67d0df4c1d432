"""Children that give way to the recorder.

In: a child that was just started. Out: nothing. Always holds: from its first import on, a child that
is in no hurry runs behind the recorder, which drains its buses on a tick: with fewer cores than
processes a fetch would else make gate inputs stale, and so stop the update that it is for.
"""

from __future__ import annotations

import os
from contextlib import suppress

NICE = 10  # a ninth of the recorder's share while both want the same core


def give_way(pid: int) -> None:
    """Lower the priority of `pid`; one that ended already needs none."""
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
