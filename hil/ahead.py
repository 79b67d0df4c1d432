"""The second flight, flown while the first one is played: a process of its own that gives way.

In: a scenario as JSON, and its run's folder. Out: the flight in the cache, where `hil.leg` finds it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from hil.leg import first_leg, second_leg
from hil.rig import Rig
from hil.scenario import Scenario
from shared.signals import load_signal_set

NICE = 15  # at 30 x the aircraft's gate shuts when its recorder waits 67 ms for a core


def command(scenario: Scenario, folder: Path) -> list[str]:
    """To be run beside the first flight."""
    text = msgspec.json.encode(scenario).decode()
    return [sys.executable, "-P", "-m", "hil.ahead", text, str(folder)]


def main(arguments: list[str]) -> int:
    os.nice(NICE)
    scenario = msgspec.json.decode(arguments[0], type=Scenario)
    rig = Rig(Path(arguments[1]), scenario)
    signals = load_signal_set(rig.signal_set)
    second_leg(rig, signals, first_leg(rig, signals, print), print)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
