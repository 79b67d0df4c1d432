"""A recording of a quick access recorder: sync, places and time as its airframe has them.

`qar717/raw.dat` is that of ARINC717/B-8888_20010102171005-10888.wgl.zip in the public repository
osnosn/FlightDataDecode (commit cb431656; made anonymous by its author), 292 s of an A320's climb at 512
words a second. Places and resolutions are those of its `vec/010888.vec`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.acquire.arinc717 import FrameFileSource
from shared.signals import parse_signal_set

pytestmark = pytest.mark.realdata
SET = b"""
name = "a320_qar"
version = 1
airframe = "A320"
[[group]]
name = "acceleration"
rate_hz = 8
[[group.signal]]
name = "VRTG"
unit = "[g]"
scale = 0.00390626
arinc717 = { words = [9, 73, 137, 201, 265, 329, 393, 457], signed = true }
[[group]]
name = "air"
rate_hz = 1
[[group.signal]]
name = "ALT_STD"
unit = "[ft_i]"
scale = 4.0
[group.signal.arinc717]
words = [133]
lsb = 12
signed = true
low = [{ word = 131, lsb = 8 }, { word = 133, lsb = 2, msb = 10 }]
[[group.signal]]
name = "IAS"
unit = "[kn_i]"
scale = 0.125
arinc717 = { words = [71] }
[[group]]
name = "time"
rate_hz = 0.25
[[group.signal]]
name = "UTC_MIN"
unit = "min"
arinc717 = { words = [225], subframes = [4], lsb = 7 }
[[group.signal]]
name = "UTC_SEC"
unit = "s"
arinc717 = { words = [225], subframes = [4], msb = 6 }
"""


def test_a_quick_access_recording_is_a_climb_by_its_own_clock(data: Path) -> None:
    path = data / "qar717/raw.dat"
    if not path.exists():
        pytest.skip(f"no {path}")
    signals = parse_signal_set(SET, "a320_qar.toml")
    source = FrameFileSource(path, signals, 512, 0)
    source.open(1.0)
    while source.drain(1000):
        pass
    found = {batch.group.name: batch for batch in source.pull()}
    source.close()
    assert not source.refused and len(found["air"].t_ns) == 292
    minutes, seconds = found["time"].raw.T
    assert set(np.diff(60 * minutes + seconds).tolist()) == {4}  # the recorder's clock, each frame
    altitude_ft, speed_kt = found["air"].raw[:, 0] * 4.0, found["air"].raw[:, 1] * 0.125
    assert altitude_ft[0] == 3108 and altitude_ft[-1] == altitude_ft.max() == 14_476
    assert (
        np.abs(np.diff(altitude_ft)).max() < 100
    )  # 6,000 ft/min: no bit of it is in a wrong place
    assert np.abs(np.diff(speed_kt)).max() < 5
    g = found["acceleration"].raw[:, 0] * 0.00390626
    assert abs(g.mean() - 1) < 0.05 and g.min() > 0.7 and g.max() < 1.3
