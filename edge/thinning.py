"""Thinning: which readings of bulk groups are not recorded while the governor sheds.

In: batches with their quality. Out: which of their readings are recorded.
Always holds: only groups that nothing rests on are thinned: no signal in them is `monitor` or
`gate`, has a role or an alert rule; a reading that is suspect or bad is recorded whatever the
factor. Which are kept depends on the bus counter alone, not on how the bus was drained.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.acquire.reading import Readings
from shared.quality import Quality
from shared.signals import SignalSet


def bulk_groups(signals: SignalSet) -> frozenset[str]:
    """The groups that may be thinned."""
    needed = set(signals.roles.values()) | {rule.signal for rule in signals.exceedances}
    return frozenset(
        group.name
        for group in signals.groups
        if all(s.criticality == "info" and s.name not in needed for s in group.signal)
    )


def kept(readings: Readings, quality: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.bool_]:
    """One flag a reading: every `factor`-th of the bus, and what is suspect or bad."""
    kind = quality & 3
    odd = ((kind == Quality.SUSPECT) | (kind == Quality.BAD)).any(axis=1)
    mask: npt.NDArray[np.bool_] = (readings.counter % factor == 0) | odd
    return mask
