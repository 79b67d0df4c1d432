"""A real landed flag, of a VTOL's flight controller: it says air for a second at rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.phases import AIRBORNE, Phase
from tests.realdata.ulog import read_topic
from tests.unit.edge.flight.recordings import APPROACH, ON, OUT, Story, edit, rows, run

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def flag(data: Path) -> Callable[[float], float]:
    """On the ground at a time of the log, s; held before and after it."""
    topic = read_topic(data / "px4/sample_log_small.ulg", "vehicle_land_detected")
    t_s = (topic["timestamp"] - topic["timestamp"][0]) / 1e6
    landed = topic["landed"]
    assert landed[0] and landed[-1] and not landed.all()
    return lambda at_s: float(landed[max(int(np.searchsorted(t_s, at_s, "right")) - 1, 0)])


def with_flag(flag: Callable[[float], float], first: int, slow: float) -> Story:
    """The example with the flag of the log in both gears, from row `first` on, in slow motion."""

    def gear(i: int) -> float:
        return flag((i - first) / slow)

    return run(edit(rows(), first, first + round(7 * slow), wow_left=gear, wow_right=gear))


@pytest.mark.parametrize("slow", [1.0, 5.0, 12.0])
def test_a_flag_that_says_air_at_the_stand_opens_no_flight(
    flag: Callable[[float], float], slow: float
) -> None:
    story = with_flag(flag, 60, slow)
    assert len(story.flights) == 1
    assert not {s.phase for s in story.states[:OUT]} & {*AIRBORNE, Phase.TAKEOFF}
    left = [i for i in range(60, OUT) if not flag((i - 60) / slow)]
    assert not any(story.gates[i] for i in left)


@pytest.mark.parametrize("slow", [1.0, 4.0])
def test_the_same_flag_at_touch_down_makes_one_landing(
    flag: Callable[[float], float], slow: float
) -> None:
    story = with_flag(flag, ON, slow)
    assert story.known.count(Phase.LANDING) == 1 and len(story.flights) == 1
    assert Phase.CLIMB not in {s.phase for s in story.states[APPROACH:]}
    on_s = story.times()[2]
    assert on_s is not None and abs(on_s - ON) < 30
